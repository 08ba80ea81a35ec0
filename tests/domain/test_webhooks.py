"""Webhooks: when to try again, and where nothing is ever sent."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

import pytest

from chassis.testing import eventually
from notify.domain.webhooks import RETRY_DELAYS_S, WebhookOutcome, delivery_id, next_webhook_step
from notify.transport import dns as resolving
from notify.transport import egress_policy
from notify.transport.egress_policy import (
    REFUSED_IPV4,
    REFUSED_IPV6,
    EgressForbidden,
    EgressPolicy,
    HostNotFound,
    Target,
    is_public,
)

ID = UUID("0b7a3a0c-1111-5e0b-8d0f-5b7a3a0c7e21")
HOUR = 3600.0


def test_it_is_tried_ten_times_over_three_days() -> None:
    steps = [next_webhook_step(WebhookOutcome(500), ID, n) for n in range(10)]
    delays = [step.delay for step in steps]

    assert delays[-1] is None
    assert steps[-1].state == "failed"
    assert steps[-1].reason == "given up: answered 500"
    waits = [delay for delay in delays if delay is not None]
    assert len(waits) == 9
    for wait, least in zip(waits, RETRY_DELAYS_S, strict=True):
        assert least <= wait <= least * 1.1
    assert 75 * HOUR < sum(RETRY_DELAYS_S) < 76 * HOUR


def test_what_failed_together_comes_apart() -> None:
    waits = {
        next_webhook_step(WebhookOutcome(500), delivery_id(ID, str(n)), 2).delay for n in range(50)
    }
    assert len(waits) > 40


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_two_hundred_is_taken(status: int) -> None:
    assert next_webhook_step(WebhookOutcome(status), ID, 3).state == "sent"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 422, 500, 503, None])
def test_anything_else_is_tried_again(status: int | None) -> None:
    step = next_webhook_step(
        WebhookOutcome(status, reason=None if status else "not reached"), ID, 0
    )
    assert step.state == "pending"
    assert step.delay is not None


def test_one_that_is_gone_is_left_alone() -> None:
    step = next_webhook_step(WebhookOutcome(410), ID, 0)
    assert (step.state, step.gone, step.delay) == ("failed", True, None)


def test_requested_wait_pauses_endpoint_and_never_shortens() -> None:
    step = next_webhook_step(WebhookOutcome(429, 600.0), ID, 0)
    assert (step.pause, step.delay) == (600.0, 600.0)
    assert (next_webhook_step(WebhookOutcome(503, 1.0), ID, 2).delay or 0) >= 30 * 60
    assert next_webhook_step(WebhookOutcome(500, 600.0), ID, 0).pause is None


SPECIAL_PURPOSE = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32",
    "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.0.192/32", "192.0.2.0/24",
    "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "255.255.255.255/32", "::/128", "::1/128", "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96",
    "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32",
    "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32",
    "2001:4:112::/48", "2001:10::/28", "2001:20::/28", "2001:30::/28", "2001:db8::/32",
    "2002::/16", "2620:4f:8000::/48", "3fff::/20", "4000::/3", "5f00::/16", "fc00::/7",
    "fd00:ec2::254/128", "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip
"""IANA's registries of special-purpose addresses, deprecated ranges, and cloud metadata."""
NEIGHBOURS = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "168.63.129.15", "168.63.129.17", "172.15.255.255", "172.32.0.0", "191.255.255.255",
    "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0", "192.169.0.0", "198.17.255.255",
    "198.20.0.0", "223.255.255.255", "2001:200::", "2001:db7:ffff::1", "2001:db9::",
    "2003::", "2606:4700:4700::1111", "2620:4f:7fff::1", "2620:4f:8001::", "3fff:1000::",
]  # fmt: skip
CARRYING = ["::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::", "2001:0:5ef5:79fb::1"]


@pytest.mark.parametrize("network", SPECIAL_PURPOSE)
def test_address_of_special_purpose_is_not_public(network: str) -> None:
    block = ip_network(network)

    assert not is_public(block[0])
    assert not is_public(block[block.num_addresses // 2])
    assert not is_public(block[-1])


@pytest.mark.parametrize("address", CARRYING)
def test_address_carrying_another_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", NEIGHBOURS)
def test_address_beside_a_special_one_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("network", [*REFUSED_IPV4, *REFUSED_IPV6])
def test_special_network_left_out_is_noticed(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without its network, an address of it would be public."""
    for name in ("REFUSED_IPV4", "REFUSED_IPV6"):
        others = [each for each in getattr(egress_policy, name) if each != network]
        monkeypatch.setattr(egress_policy, name, others)

    assert any(is_public(ip_network(block)[0]) for block in SPECIAL_PURPOSE)


@pytest.mark.parametrize("own", ["192.0.0.192/32", "10.1.0.0/16", "fd00:ec2::/32", "fec0::/10"])
async def test_own_network_is_permitted_though_special(own: str) -> None:
    network = ip_network(own)
    address = network[0]
    name = f"[{address}]" if address.version == 6 else str(address)

    with pytest.raises(EgressForbidden):
        await EgressPolicy().target_of(f"https://{name}/")
    assert (await EgressPolicy([network]).target_of(f"http://{name}:8080/")).host == str(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.test/", "https://example.test:8080/", "https://example.test:22/",
        "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/",
        "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://localhost/", "https://[::1]/",
        "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[fe80::1]/",
        "https://169.254.169.254/latest/meta-data/", "https://[fd00:ec2::254]/",
        "https://user:pass@example.test/", "https://example.test@127.0.0.1/", "ftp://example.test/",
        "file:///etc/passwd", "gopher://example.test/", "https:///nothing", "https://", "nonsense",
        "https://10.0.0.1:8443/", "https://0/", "https://0.0.0.0/", "https://[::]/",
        "https://[2002:7f00:1::]/", "https://[64:ff9b::7f00:1]/", "https://192.168.1.1:443/",
        "https://127.0.0.1.:443/",
    ],
)  # fmt: skip
async def test_nothing_is_sent_inside(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "LOOKUP_TIMEOUT_S", 1.0)
    with pytest.raises(EgressForbidden):
        await EgressPolicy().target_of(url)


class Names:
    """A resolver whose answers change."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    def __call__(self, name: str) -> list[str]:
        return self.answers.pop(0)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(*answers: list[str]) -> None:
        monkeypatch.setattr(resolving, "look_up", Names(*answers))
        monkeypatch.setattr(resolving, "FOUND_TTL_S", 0.0)

    return use


async def test_the_connection_goes_to_the_address_that_was_judged(names: Any) -> None:
    names(["1.1.1.1"], ["127.0.0.1"])
    guard = EgressPolicy()
    place = await guard.target_of("https://Example.test/a?b=c")

    assert (place.host, place.name, place.port) == ("1.1.1.1", "example.test", 443)
    assert place.head == b"POST /a?b=c HTTP/1.1\r\nHost: example.test\r\n"
    with pytest.raises(EgressForbidden, match="not public"):
        await guard.target_of("https://example.test/")


async def test_one_private_address_among_several_is_enough(names: Any) -> None:
    names(["1.1.1.1", "10.0.0.1"])
    with pytest.raises(EgressForbidden, match="not public"):
        await EgressPolicy().target_of("https://example.test/")


async def test_networks_of_ones_own_are_named() -> None:
    guard = EgressPolicy([ip_network("127.0.0.0/8")])
    place = await guard.target_of("http://127.0.0.1:9000/x")
    assert (place.host, place.port) == ("127.0.0.1", 9000)
    with pytest.raises(EgressForbidden):
        await guard.target_of("http://10.0.0.1:9000/x")


async def test_trusted_sink_may_have_any_address(names: Any) -> None:
    names(["10.0.0.9"])
    place = await EgressPolicy().target_of("http://sink:8009/webhook/audit", trusted=True)
    assert (place.host, place.port, place.scheme) == ("sink", 8009, "http")


class Resolver:
    """The system's resolver, which knows one name, and says nothing about dead ones."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answer = threading.Event()

    def __call__(self, name: str) -> list[str]:
        self.asked[name] += 1
        if name.startswith("dead"):
            self.answer.wait(20)
        return ["1.1.1.1"]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(resolving, "look_up", resolver)
    monkeypatch.setattr(resolving, "LOOKUP_TIMEOUT_S", 0.1)
    yield resolver
    resolver.answer.set()


async def test_dead_names_keep_no_other_name_and_nobody_else_waiting(resolver: Resolver) -> None:
    guard = EgressPolicy()
    dead = [guard.target_of(f"https://dead{n % 10}.test/") for n in range(200)]
    told = await asyncio.gather(
        *dead, guard.target_of("https://alive.test/"), return_exceptions=True
    )

    assert all(isinstance(each, HostNotFound) for each in told[:-1])
    assert isinstance(told[-1], Target)
    assert set(resolver.asked.values()) == {1}  # once at a time, however many ask
    assert len(resolver.asked) == 11
    async with asyncio.timeout(1):  # what everybody shares is free
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)


async def test_what_is_not_known_is_not_asked_again_at_once(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = EgressPolicy()
    for _ in range(3):
        with pytest.raises(HostNotFound):
            await guard.target_of("https://dead.test/")
    resolver.answer.set()

    async def known() -> bool:
        try:
            return bool(await guard.addresses_of("dead.test"))
        except HostNotFound:
            return False

    await eventually(known)
    assert resolver.asked["dead.test"] == 1


async def test_there_is_an_end_to_how_many_are_asked(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolving, "MAX_LOOKUPS", 3)
    guard = EgressPolicy()
    dead = [guard.target_of(f"https://dead{n}.test/") for n in range(9)]
    await asyncio.gather(*dead, return_exceptions=True)

    assert len(resolver.asked) == 3
