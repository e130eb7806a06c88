"""`l2mesh demo`: a whole mesh on this machine, in the virtual internet of l2mesh/lab.

run         the story, step by step; uses
topology    supernode, NAT routers and hosts, and their drawing
parties     the files of supernode and edges, the daemons, their management sockets
pairs       who sees whom by which path, since when: of all directions
frames      raw Ethernet at the TAPs: the first frame, and a broadcast
checks      ping and the transfer (transfer: for want of iperf3)
results     what was found: the document of --json; summary: the same for people
screen      a live table on a terminal, lines elsewhere, or nothing
ending      signals, and a guard that cleans up after a kill -9
keeping     --keep and --down
"""
