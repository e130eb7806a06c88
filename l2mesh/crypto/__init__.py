"""Keys, the handshake, and what keeps it honest: bytes in, bytes out.

Read in this order:

=============  =====================================================================================
keys           who somebody is: X25519 static keys, the Ed25519 authority of a network, and what is
               derived from a secret (authority, network id, handshake PSK)
certificate    the authority's word that a static key is a member: X.509 over X25519
noise          Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s: two messages, then two transport keys
mac            the cheap keyed check in front of every public-key operation, and cookies under load
tai64n         timestamps that only grow, so that an initiation cannot be replayed
aead           which cipher the two ends seal their data with
replay         which counters of a keypair were seen
=============  =====================================================================================

How they meet in one handshake (the engine in core/ holds the order; nothing here calls another step)::

    initiator                                         responder
    TimestampSource.next -> payload
    NoiseInitiator.write_initiation
    mac1(mac1_key(responder, psk), datagram)  ----->  verify mac1; under load CookieJar.accepts mac2,
                                                      else seal_cookie ----> open_cookie, try again
                                                      NoiseResponder.read_initiation
                                                      certificate.verify, ReplayGuard.accept
                                                      aead.choose
    NoiseInitiator.read_response              <-----  NoiseResponder.write_response
    certificate.verify
    both: transport_keys -> aead.cipher, ReplayWindow for what is received

Rules of this layer:

- No clock, no chance, no files: `now` and `random_bytes` are arguments.
- What a stranger sent raises a `l2mesh.wire.errors.BadPacket` (`NoiseError`, `InvalidKey` and
  `CertificateError` are kinds of it), and the object it was given to is as before: a forged message cannot
  spoil a genuine one.
- What the user wrote (key text, PEM files) raises `KeyFormatError`, with what to do about it.
- Each hash and derivation begins with its own label, so no value serves two ends.
- Secrets are compared in constant time (`hmac.compare_digest`). Python cannot wipe memory: erasing a key
  means dropping the last reference to it.
"""
