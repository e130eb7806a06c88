"""How cost grows with the number of peers of an edge, and of edges at a supernode. Run by tools/scale.

What is measured is a real daemon with real sockets (and TAP) in a namespace. What it talks to are engines, each
with a UDP socket of its own, that share one process: they cost less than daemons do, and count what they see.

    edge.py        an edge with 10, 100, 1 000 peers             crowd.py         its peers
    supernode.py   a supernode with 10 ... 10 000 edges          registrants.py   its edges
"""
