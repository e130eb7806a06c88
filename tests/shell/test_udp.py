from __future__ import annotations

import errno
import logging
import select
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from l2mesh.lab import wait_until
from l2mesh.shell import udp, udp_options
from l2mesh.shell.errors import ShellError
from l2mesh.shell.statistics import PortStatistics
from l2mesh.shell.udp import UdpSocket, open_side_socket
from l2mesh.wire.address import SideAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

Address = tuple[str, int]
SO_NO_CHECK = 11
UDP_NO_CHECK6_TX = 101
UDP_NO_CHECK6_RX = 102
IP_RECVTTL = 12
IPV6_RECVHOPLIMIT = 51
LOOPBACK = {4: "127.0.0.1", 6: "::1"}


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes UdpSockets that the test need not close."""
    made: list[UdpSocket] = []

    def make_socket(*arguments: Any, **options: Any) -> UdpSocket:
        made.append(UdpSocket(*arguments, **options))
        return made[-1]

    yield make_socket
    for each in made:
        each.close()


def receive(port: UdpSocket, count: int) -> list[tuple[Address, bytes]]:
    """The next `count` datagrams, whatever bursts they came in."""
    found: list[tuple[Address, bytes]] = []
    while len(found) < count:
        assert select.select([port], [], [], 2)[0], f"only {len(found)} of {count} datagrams came"
        for address, data, size in port.receive_batch():
            found += [(address, bytes(data[start : start + size])) for start in range(0, len(data), size)]
    return found


def readable(port: UdpSocket) -> bool:
    """By poll(2): EPOLLERR counts."""
    poll = select.poll()
    poll.register(port.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@pytest.mark.parametrize("mmsg", [True, False], ids=["recvmmsg", "recvmsg"])
@pytest.mark.parametrize("gro", [True, False], ids=["gro", "no gro"])
@pytest.mark.parametrize("gso", [True, False], ids=["gso", "no gso"])
def test_trains_arrive_as_the_same_datagrams(make: Any, version: int, gso: bool, gro: bool, mmsg: bool) -> None:
    sender = make(LOOPBACK[version], 0, gso=gso)
    receiver = make(LOOPBACK[version], 0, gro=gro, mmsg=mmsg)
    source, target = (LOOPBACK[version], sender.port), (LOOPBACK[version], receiver.port)
    forty = bytes(range(40)) * 100
    trains = [
        (target, b"lone", 4),
        (target, bytearray(forty), 100),
        (target, memoryview(forty)[:250], 100),
        (target, b"", 0),
        (target, b"lone, and told a larger size", 1000),
    ]
    assert sender.send(trains) == []
    expected = [b"lone"] + [forty[start : start + 100] for start in range(0, 4000, 100)]
    expected += [forty[:100], forty[100:200], forty[200:250], b"", b"lone, and told a larger size"]
    received: list[bytes] = []
    while len(received) < len(expected):
        assert select.select([receiver], [], [], 2)[0]
        for address, data, size in receiver.receive_batch():
            assert address == source
            received += [bytes(data[at : at + size]) for at in range(0, len(data), size)] if len(data) else [b""]
    assert received == expected
    assert receiver.receive_batch() == []
    assert receiver.statistics.read_bytes == sender.statistics.write_bytes == sum(map(len, expected))
    assert sender.statistics.writes == (5 if gso else 46)


@pytest.mark.parametrize("mmsg", [True, False], ids=["recvmmsg", "recvmsg"])
def test_a_burst_joins_a_train_and_is_mutable(make: Any, version: int, mmsg: bool) -> None:
    sender, receiver = make(LOOPBACK[version], 0), make(LOOPBACK[version], 0, mmsg=mmsg)
    sender.send([((LOOPBACK[version], receiver.port), bytes(64000), 1000)])
    assert select.select([receiver], [], [], 2)[0]
    [(_, data, size)] = receiver.receive_batch()
    assert (len(data), size) == (64000, 1000)
    data[:3] = b"new"
    assert bytes(data[:4]) == b"new\0"


@pytest.mark.parametrize("mmsg", [True, False], ids=["recvmmsg", "recvmsg"])
def test_a_batch_is_bounded_and_nothing_is_lost_to_the_bound(make: Any, mmsg: bool) -> None:
    sender, receiver = make("127.0.0.1", 0), make("127.0.0.1", 0, mmsg=mmsg)
    for number in range(200):
        sender.send([(("127.0.0.1", receiver.port), number.to_bytes(2, "big"), 2)])
    batches = []
    while batch := receiver.receive_batch():
        batches.append(batch)
        assert len(batch) <= udp.BATCH_MESSAGES
    assert sum(len(batch) for batch in batches) == 200


def test_equal_datagrams_that_came_one_by_one_are_one_burst(make: Any) -> None:
    senders, receiver = [make("127.0.0.1", 0, gso=False) for _ in range(2)], make("127.0.0.1", 0, gro=False)

    def send(number: int, size: int, sender: int = 0) -> bytes:
        datagram = bytes((number,)) * size
        senders[sender].send([(("127.0.0.1", receiver.port), datagram, size or 1)])
        return datagram

    # Sockets share their buffers: what IPv6 left there is not to tell the senders apart.
    other = make("::1", 0)
    for _ in range(7):
        other.send([(("::1", other.port), bytes(10), 10)])
    receive(other, 7)

    def is_one_burst() -> bool:
        """Of the twenty of the time before: a busy kernel takes a while to queue them."""
        first = receiver.receive_batch()
        count = sum(-(-len(data) // size) for _, data, size in first)
        receive(receiver, 20 - count)
        for number in range(20):
            send(number, 1000)
        return (len(first), count) == (1, 20)

    for number in range(20):
        send(number, 1000)
    wait_until(is_one_burst, 5.0, "twenty datagrams come as one burst")
    receive(receiver, 20)
    # Now there is a row for 1000 bytes: shorter and longer ones, and other senders, in any place.
    for sizes in ([1000] * 9 + [300], [300, 1000, 1000, 1500, 1000, 20, 20, 1000, 9000, 1000, 1000]):
        sent = [send(number, size) for number, size in enumerate(sizes)]
        assert [data for _, data in receive(receiver, len(sizes))] == sent
    mixed = [0, 0, 1, 1, 1, 0, 1, 0, 0, 0]
    sent = [send(number, 1500, sender) for number, sender in enumerate(mixed)]
    expected = [(("127.0.0.1", senders[sender].port), data) for sender, data in zip(mixed, sent, strict=True)]
    assert receive(receiver, 10) == expected


def test_the_table_of_known_addresses_is_bounded(make: Any, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "KNOWN_ADDRESSES", 3)
    receiver = make(LOOPBACK[version], 0)
    senders = [make(LOOPBACK[version], 0) for _ in range(10)]
    for _ in range(2):
        for sender in senders:
            sender.send([((LOOPBACK[version], receiver.port), b"x", 1)])
        addresses = [address for address, _ in receive(receiver, 10)]
        assert addresses == [(LOOPBACK[version], sender.port) for sender in senders]
        assert len(receiver._addresses) <= 3


def test_gso_that_the_kernel_refuses_is_done_without_and_said_once(
    make: Any, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    sender, receiver = make(LOOPBACK[version], 0), make(LOOPBACK[version], 0)
    if version == 4:  # without checksums the kernel has no GSO
        sender._socket.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    else:
        sender._socket.setsockopt(udp_options.SOL_UDP, UDP_NO_CHECK6_TX, 1)
        receiver._socket.setsockopt(udp_options.SOL_UDP, UDP_NO_CHECK6_RX, 1)
    train = ((LOOPBACK[version], receiver.port), b"aabbc", 2)
    assert sender.send([train, train]) == []
    assert [data for _, data in receive(receiver, 6)] == [b"aa", b"bb", b"c"] * 2
    assert not sender.gso
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert not sender.statistics.drops


def test_an_impossible_destination_is_not_mistaken_for_refused_gso(make: Any) -> None:
    sender, receiver = make("127.0.0.1", 0), make("127.0.0.1", 0)
    assert sender.send([(("127.0.0.1", 0), b"aabb", 2), (("127.0.0.1", receiver.port), b"ok", 2)]) == []
    assert sender.gso
    assert sender.statistics.drops == {"invalid destination": 1}
    assert receive(receiver, 1)[0][1] == b"ok"


def test_a_busy_port_is_an_error_or_if_only_remembered_another_one(make: Any) -> None:
    first = make("127.0.0.1", 0)
    with pytest.raises(ShellError, match=f"port busy: 127.0.0.1:{first.port} is used by another program"):
        make("127.0.0.1", first.port)
    assert make("127.0.0.1", first.port, any_port=True).port != first.port


def test_a_remembered_port_that_is_free_is_taken_again(make: Any) -> None:
    port = make("127.0.0.1", 0).port
    again = make("127.0.0.2", port, any_port=True)
    assert again.port == port


def test_an_address_we_do_not_have_is_an_error(make: Any) -> None:
    with pytest.raises(
        ShellError, match=r"cannot listen on 192\.0\.2\.1:0: this machine does not have that address"
    ):
        make("192.0.2.1", 0)


def test_a_side_socket_sees_and_sends_by_its_number(make: Any, version: int) -> None:
    main, far = make(LOOPBACK[version], 0), make(LOOPBACK[version], 0)
    counted = PortStatistics()
    side = open_side_socket([main], version, 3, counted)
    try:
        target = SideAddress(LOOPBACK[version], far.port, 3)
        assert side.send([(target, b"probe", 5)]) == []
        assert receive(far, 1) == [((LOOPBACK[version], side.port), b"probe")]
        far.send([((LOOPBACK[version], side.port), b"reply", 5)])
        assert receive(side, 1) == [(target, b"reply")]
        assert (counted.reads, counted.writes) == (1, 1)
        assert side.address == SideAddress(LOOPBACK[version], side.port, 3)
        far.close()
        side.send([(target, b"probe", 5)])
        assert side.receive_batch() == []
        assert side.take_errors() == [(target, errno.ECONNREFUSED, False)]
    finally:
        side.close()


def test_a_side_socket_is_small_until_it_grows(make: Any) -> None:
    def buffer(port: UdpSocket) -> int:
        return port._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    main = make("127.0.0.1", 0)
    side = open_side_socket([main], 4, 1, PortStatistics())
    try:
        assert buffer(side) == udp.SIDE_RECEIVE_BUFFER
        side.grow()
        assert buffer(side) == buffer(main)
    finally:
        side.close()


def test_there_is_no_side_socket_of_a_version_that_is_not_listened_on(make: Any) -> None:
    with pytest.raises(ShellError, match="no IPv6 address is listened on"):
        open_side_socket([make("127.0.0.1", 0)], 6, 1, PortStatistics())


def test_a_ttl_goes_with_one_datagram_and_no_other(make: Any, version: int) -> None:
    sender = make(LOOPBACK[version], 0)
    with socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        level, option = (
            (socket.IPPROTO_IPV6, IPV6_RECVHOPLIMIT) if version == 6 else (socket.IPPROTO_IP, IP_RECVTTL)
        )
        receiver.setsockopt(level, option, 1)
        receiver.bind((LOOPBACK[version], 0))
        receiver.settimeout(2)
        target = receiver.getsockname()[:2]
        sender.send_with_ttl(target, b"opener", 2)
        sender.send([(target, b"probe", 5)])
        received = [receiver.recvmsg(100, 100)[:2] for _ in range(2)]
    assert [data for data, _ in received] == [b"opener", b"probe"]
    assert [int.from_bytes(ancillary[0][2], sys.byteorder) for _, ancillary in received] == [2, 64]
    assert sender.statistics.writes == 2


@pytest.mark.parametrize("gso", [True, False], ids=["gso", "no gso"])
def test_news_of_one_destination_costs_no_datagram_to_another(make: Any, version: int, gso: bool) -> None:
    sender, receiver, closed = (make(LOOPBACK[version], 0, gso=gso) for _ in range(3))
    closed.close()
    here, gone = (LOOPBACK[version], receiver.port), (LOOPBACK[version], closed.port)
    trains = [(here, b"one", 3), (here, b"twothree", 3), (gone, b"nobody", 2), (gone, b"lone", 4)]
    for _ in range(3):  # the news of the last train of each round meets the first of the next
        assert sender.send(trains) == []
        assert sender.send([]) == []
    sender.send_with_ttl(here, b"opener", 9)
    assert [data for _, data in receive(receiver, 13)] == [b"one", b"two", b"thr", b"ee"] * 3 + [b"opener"]
    assert not sender.statistics.drops
    assert sender.take_errors() == [(gone, errno.ECONNREFUSED, False)]
    assert sender.gso == gso


@pytest.mark.parametrize("mmsg", [True, False], ids=["recvmmsg", "recvmsg"])
def test_news_of_one_destination_costs_nothing_that_was_received(make: Any, version: int, mmsg: bool) -> None:
    port, other, closed = (make(LOOPBACK[version], 0, mmsg=mmsg) for _ in range(3))
    closed.close()
    gone = (LOOPBACK[version], closed.port)
    other.send([((LOOPBACK[version], port.port), b"before", 6)])
    port.send([(gone, b"x", 1)])
    assert [bytes(data) for _, data, _ in port.receive_batch()] == [b"before"]
    assert port.take_errors() == [(gone, errno.ECONNREFUSED, False)]
    assert not port.statistics.drops
    assert not readable(port)


def test_errors_that_nobody_takes_have_a_bound(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "ERRORS_MAX", 3)
    port = make("127.0.0.1", 0)
    for number in range(10):
        port.send([((f"127.0.0.{100 + number}", 9), b"x", 1)])
    while readable(port):
        port.receive_batch()
    assert [address for address, _, _ in port.take_errors()] == [(f"127.0.0.{100 + n}", 9) for n in range(3)]
    assert not port.statistics.drops


@pytest.mark.root
def test_what_a_router_answers_is_told_with_the_destination(
    namespaces: list[Any], make: Any, version: int
) -> None:
    here, router, net, dark, narrow = (
        ("10.9.0.1", "10.9.0.2", "198.51.0.0/16", "198.51.100.9", "198.51.200.9")
        if version == 4
        else ("fd09::1", "fd09::2", "2001:db8::/32", "2001:db8:100::9", "2001:db8:200::9")
    )
    namespaces[0].join(namespaces[1], *(f"{host}/{24 if version == 4 else 64}" for host in (here, router)))
    namespaces[0].ip(f"route add {net} via {router}")
    with namespaces[1].entered():
        path = "ipv4/ip_forward" if version == 4 else "ipv6/conf/all/forwarding"
        Path("/proc/sys/net", path).write_text("1")
    namespaces[1].ip("tuntap add wan mode tap")
    namespaces[1].ip("link set wan mtu 1300 up")
    namespaces[1].ip(f"route add {narrow} dev wan")
    namespaces[1].ip(f"route add unreachable {dark}")
    port = make(here, 0)
    port.send_with_ttl((narrow, 7), b"an opener that ends at the router", 1)
    port.send([((dark, 7), b"x", 1)])
    unreachable = errno.EHOSTUNREACH if version == 4 else errno.ENETUNREACH
    assert errors_of(port, 1) == [((dark, 7), unreachable, False)]
    port.send([((narrow, 7), bytes(1400), 1400)])
    assert errors_of(port, 1) == [((narrow, 7), errno.EMSGSIZE, False)]
    assert port.send([((narrow, 7), bytes(1400), 1400)]) == []  # and it does not stop the next probe
    assert not port.statistics.drops


def errors_of(port: UdpSocket, count: int) -> list[tuple[Address, int, bool]]:
    """The next `count` errors."""
    found: list[tuple[Address, int, bool]] = []
    while len(found) < count:
        assert select.select([port], [], [], 2)[0], f"only {found} came"
        assert port.receive_batch() == []
        found += port.take_errors()
    return found


@pytest.mark.root
def test_refused_trains_are_counted_and_told_and_the_others_go(namespaces: list[Any], make: Any) -> None:
    namespaces[0].ip("link set lo mtu 1500")
    sender = make("0.0.0.0", 0)
    receiver = make("127.0.0.1", 0)
    here, nowhere = ("127.0.0.1", receiver.port), ("198.51.100.1", 9)
    big = bytes(2000)
    assert sender.send([(here, big, 2000), (here, big * 2, 2000), (nowhere, b"x", 1), (here, b"last", 4)]) == []
    assert sender.statistics.drops == {"longer than the link's MTU": 2, "network unreachable": 1}
    told = [(here, errno.EMSGSIZE, True), (nowhere, errno.ENETUNREACH, True)]
    assert sender.take_errors() == told
    assert (
        sender.receive_batch() == []
    )  # the kernel's own news of the former would keep it awake, and it is read now
    assert not readable(sender)
    assert sender.take_errors() == []
    assert receive(receiver, 1)[0][1] == b"last"
    assert sender.gso


@pytest.mark.root
def test_what_the_kernel_believes_of_a_path_does_not_stop_a_probe(
    namespaces: list[Any], make: Any, version: int
) -> None:
    here, there = ("10.9.0.1", "10.9.0.2") if version == 4 else ("fd09::1", "fd09::2")
    here_cidr, there_cidr = (f"{host}/{24 if version == 4 else 64}" for host in (here, there))
    namespaces[0].join(namespaces[1], here_cidr, there_cidr)
    namespaces[0].ip(f"route add {there} dev eth0 mtu lock 1300")
    with namespaces[1].entered():
        receiver = make(there, 0)
    sender = make(here, 0)
    assert (
        sender.send([((there, receiver.port), bytes(1400), 1400), ((there, receiver.port), bytes(2800), 1400)])
        == []
    )
    assert not sender.statistics.drops
    assert [len(data) for _, data in receive(receiver, 3)] == [1400] * 3


@pytest.mark.root
@pytest.mark.parametrize("gso", [True, False], ids=["gso", "no gso"])
def test_a_full_socket_gives_back_what_it_could_not_take(namespaces: list[Any], make: Any, gso: bool) -> None:
    # Datagrams to a neighbour whose MAC is not known yet wait, and fill the send buffer.
    namespaces[0].join(namespaces[1], "10.9.0.1/24", "10.9.0.2/24")
    namespaces[1].ip("link set eth0 arp off")
    with namespaces[1].entered():
        receiver = make("10.9.0.2", 0)
    sender = make("10.9.0.1", 0, gso=gso, send_buffer=10_000)
    buffer = bytearray(b"".join(number.to_bytes(2, "big") * 500 for number in range(30)))
    target = ("10.9.0.2", receiver.port)
    trains = [(target, buffer[at : at + 6000], 1000) for at in range(0, 30_000, 6000)]
    rest = sender.send(trains)
    assert rest
    for _, sent, _ in trains:
        sent[:] = bytes(len(sent))  # its owner uses it again: the copies do not change
    assert not select.select([], [sender], [], 0)[1]
    mac = namespaces[1].ip("link show eth0").split("link/ether ")[1].split()[0]
    namespaces[0].ip(f"neigh replace 10.9.0.2 lladdr {mac} dev eth0")
    while rest:
        assert select.select([], [sender], [], 2)[1]
        rest = sender.send(rest)
    assert b"".join(data for _, data in receive(receiver, 30)) == b"".join(
        number.to_bytes(2, "big") * 500 for number in range(30)
    )
