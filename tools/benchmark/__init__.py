"""tools/bench: l2mesh and its peers, measured side by side on this machine.

    cli.py          options, Ctrl-C, what is printed where
    schedule.py     rounds: every system once in each, on each underlay
    cell.py         one system, one underlay, one round: build, start, measure, take down
    rig.py          two hosts, a hub and a bridge, in network namespaces
    systems/        what is measured: one file each
    measures/       what is asked of it: one file each
    results.py      all samples, to and from JSON
    targets.py      the ratios that l2mesh has to reach
    report.py, plots.py
    profile/        the engines alone, without TAP and sockets: ns per frame of each stage

Medians with minimum and maximum, and systems interleaved round by round, so that what else this machine does falls
on all alike. Each cell gets fresh namespaces and fresh processes: none inherits a route or a cache.
"""
