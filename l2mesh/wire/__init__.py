"""The protocol: bytes <-> values. One protocol for edges and supernodes, over UDP.

Each file draws its format, says what happens to unknown bytes, and is held by exact bytes in tests/wire. A
parser takes untrusted bytes and returns a value or raises BadPacket, nothing else.

    outer              the datagrams: handshake, cookie reply, data, relayed, key request and reply
    handshake_payload  what travels encrypted in both handshake messages
    plaintext          what is sealed in data: frames (slim UDP, bundle, segment, fragment), control, probes
    control            messages between edges and supernodes: register, directory, relay channels, call
    probe              connectivity checks
    stun               where a datagram is seen from (RFC 8489, RFC 5780)
    address            UDP addresses
    pcp, nat_pmp       what routers are asked to map ports by
    ethernet, ip, virtio   the frames' own headers, as far as they must be cut and joined

Handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, prologue = protocol version, network id, roles. The PSK is the
network's (derived from its secret, or from its authority's public key); with a supernode, which is no member,
it is zero. mac1 is keyed with the responder's public key and the PSK: to a stranger the port is silent. An edge
without a pinned key asks a supernode for it (key request) and remembers the answer: trust on first use.

Sessions: keypairs previous, current, next; new keys after 120 s or 2^32 datagrams, rejected after 180 s; replay
window 8192. The cipher is AES-256-GCM when both ends have AES instructions, else ChaCha20-Poly1305, decided in
the handshake. WireGuard's passive keepalive has no counterpart: the probes of the selected path do its work,
and tell more.

Supernodes: an edge keeps a session with each of its supernodes and registers in it: network, certificate,
candidates. The directory of a network is versioned; edges ask what changed, supernodes hint that something did.
For each pair a supernode hands out random 64-bit relay channels, one for each end.

Versions meet like this: unknown datagram types, plaintext kinds and control tags are dropped and counted;
unknown trailing elements of messages are ignored; what cannot be read in both ways changes handshake.PROTOCOL."""
