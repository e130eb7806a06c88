"""Who meets whom, and how soon: real edges behind every kind of NAT of the lab. Run by tools/nat-matrix.

kinds.py      the kinds of sites         daemons.py   their edges, and a supernode with two addresses x two ports
expected.py   what each pair owes        frames.py    raw frames at both TAPs     packets.py   what edges send
pair.py       one pair, measured         matrix.py    many, some at a time        report.py    tables

changes.py    what may happen below a running TCP stream, and the gap it makes     stream.py   that stream
"""
