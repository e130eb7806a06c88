"""The engines and their parts: no I/O, no clock, no chance. `now` is in seconds, randomness a function passed in.
in.

    edge, supernode    the two engines: they join parts and delegate
    node               what both are: doors, and the way of what comes in on one UDP port
    session_node       its lower half: handshakes and sessions with many peers, their timers
      admission        the cheap checks before a public-key operation      handshake   messages <-> keypairs
      session          keypairs, seal and open in batches                  peer        a remote node
    switch, fdb        where a frame goes; who is behind which port
    packer, unpacker   frames <-> plaintexts: superframe (segments), bundle, fragment, udp_run
    remote_edge        another edge: session, paths, queue, packer
    paths, path_care   connectivity checks, choice and care of the ways to a peer: path, path_size, send_errors
    strangers          how much goes to a host where nobody has answered
    punching, reach    how ways through NATs come about: candidates, calls; where we may send
    nat_discovery      what kind of NAT is before us: nat_survey, nat_questions, stun_client, nat_classes, nat
    rendezvous         an edge's supernodes: supernode_link, directory
    port_mapping       asks the router to let others in: mapping_protocols, mapping_exchange, mapping_values
    mapped_check       whether it does: asks a supernode, which is mapped_probe
    member_channels    ways to a peer by other members, which member_relay is the other side of
    registry, relay    the supernode's half: who is registered, channels; stun_server: where they are seen from
    deadlines, token_bucket, arena, drops, events   small things that all use

Timers are facts written down as they happen, and worked out when the earliest may be due: no hot path touches a
timer. Nothing is dropped without a DropReason, and every table has a bound beside its definition.
"""
