"""A virtual internet for the engines: no operating system, no waiting, one seed.

    clock      virtual time and what is to happen when
    link       what a path does to datagrams: delay, loss, duplication, reordering, MTU
    burst      cutting runs of datagrams and joining them, as UDP GSO and GRO do
    nat        NATs and firewalls by RFC 4787 behaviour
    place      hosts, sockets, sites behind a NAT, and the networks they are on
    network    `Internet`: carries every datagram, and tells taps what became of it
    engine     the doors of an engine, as protocols
    node       drives one engine by its doors
    numbering  gives out addresses
    world      a topology in a few lines: start here

A run is a function of configuration, inputs and seed. A `World` prints its seed, so a failing test shows it.
"""
