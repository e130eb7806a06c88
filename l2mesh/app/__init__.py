"""The programs: network files, the two daemons, the management socket, the command line (cli.py)."""
