"""Looking at a running daemon: HTTP/JSON on a unix socket, and the verbs that read it.

    daemon    routes -> views -> documents      server + exchange: HTTP/1.1 on asyncio, by h11
    verbs     client <- documents               target: which socket; show, units: for people

A document (documents.py) is what both sides and other programs agree on. A view is a pure function from an engine
to a document. Anybody who may open the socket may look:

    curl --unix-socket /run/l2mesh/office.l2m0.sock http://l/v1/status
"""
