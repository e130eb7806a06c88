"""l2mesh: one Ethernet switch whose ports lie on different continents.

Each party runs an *edge*: it owns a TAP device, which is the local port of the switch; every other party is a
remote port, reached by an encrypted session over UDP. A *supernode* on a public host lets edges find each
other, helps them through their NATs, and carries sealed datagrams, which it cannot read, for pairs that cannot
meet.

This page is the architecture. The protocol is in l2mesh/wire, the cryptography in l2mesh/crypto, the engines in
l2mesh/core; each begins with a page like this one.

Layers: a folder is a layer, imports point down only (tests/test_imports.py holds it)

    wire/        bytes <-> values. No OS, no clock, no chance.
    crypto/      keys, Noise, AEAD, replay window, cookies, certificates
    core/        sans-I/O engines and their parts. Time and randomness are arguments.
    shell/       the only code that touches the OS: TAP, UDP, netlink, clock, privileges, the loop
    app/         the programs: files, `edge`, `supernode`, management, command line
    simulator/   the same doors as shell/ without an OS: virtual clock, virtual NATs, seeded loss
    lab/         a virtual internet of Linux network namespaces with real NATs, for tests and `l2mesh demo`

The doors of an engine

    in    receive_frames(...)      from the TAP          out   frames to deliver
          receive_datagrams(...)   from UDP                    datagrams to send
          handle_timer(now)                                    next_deadline
          calls of the API                                     events (peer up, path changed, station moved ...)

The same engine runs under three drivers: the real loop (shell/driver.py), the simulator, and unit tests, by
hand. Events are for humans and rare changes. Frames and datagrams never become objects: the shell hands the
engine a batch, what one wake-up drained, and the engine hands back batches.

Life of a frame

    TAP read (virtio header, up to 64 KB) -> core.switch: destination -> one peer, or flood to all, or drop with
    a reason -> core.packer: superframes into segments, small frames into bundles -> core.session: seal -> path:
    direct address or relay -> one UDP send for many datagrams -> ... -> one UDP receive for many datagrams ->
    receiver index -> session: open, replay window -> core.unpacker: join what one batch brought -> core.switch:
    source learned and checked -> TAP write

    Split horizon: a frame that came from the mesh never goes back into the mesh. That is the loop rule of a
    full mesh.

Life of a peer

    registered at a supernode -> its directory names it -> handshake, by relay if no address works yet, so
    frames flow at once -> connectivity checks on every candidate -> where they find nothing, an attempt by the
    class of both NATs (core.punching) -> best valid path selected -> probes, roaming, back to the relay when it
    fails, and again -> gone

Cores

    An edge is one process with one thread: a second thread would wait for the interpreter lock. Beyond one
    core it would grow by processes: each with a queue of the TAP (IFF_MULTI_QUEUE: the kernel keeps a flow on
    one queue), a socket of its own (SO_REUSEPORT), and a session of its own with every peer, so that no
    counter, replay window or key is shared; what one learns for the FDB it tells the others.

    Not built. Measured on two cores that also run both ends of iperf3 (one and four streams, one way and both
    ways at once, on either underlay): the two edges take 82 to 93 % of both cores and iperf3 most of the rest;
    3 to 10 % are idle one way, 0 to 3 % both ways. There is nothing that a worker could use here, and one more
    wake-up for smaller batches would cost. Where an edge has cores of its own, this is the way.

Threat model, in short

- Outsiders see datagrams of random-looking contents, get no answer to anything they cannot authenticate, cannot
  make us send more than they sent, cannot cost us a public-key operation without passing a keyed check first
  (crypto.mac).
- A supernode can refuse service and can lie about addresses. It cannot read, forge or inject a frame, join a
  network, or make an edge accept a peer: membership is proven edge to edge (core.membership).
- A member may be hostile to other members. It cannot speak as another member, cannot take over another member's
  MAC unnoticed (StationMoved; a certificate can bind MACs), cannot fill tables, cannot flood without a limit.
- Everything a stranger or a member can make grow has a bound next to it, and a test of that bound.

What it is not: a layer-3 router, an anonymity network, a cloud service. There is no account and nothing to
phone home to."""

__version__ = "0.1.0"
