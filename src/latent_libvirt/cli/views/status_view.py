# SPDX-License-Identifier: GPL-2.0-only
"""View of a pool's status for people: trouble first, then hosts, labels and VMs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from latent_libvirt.config.units import GIB
from latent_libvirt.plain_text import all_shown

if TYPE_CHECKING:
    from latent_libvirt.status.hosts import HostStatus
    from latent_libvirt.status.names import BuildRef
    from latent_libvirt.status.pool import LabelStatus, PoolStatus
    from latent_libvirt.status.queue import QueueStatus, WaitingStatus
    from latent_libvirt.status.vms import FrozenStatus, HeldStatus, LeaseStatus, SpareStatus

_LEFT = frozenset(
    {"HOST", "LABEL", "STATE", "WORKER", "DOMAIN", "BY", "PHASE", "BUILD", "ID", "BECAUSE"}
)
"""Columns of text; a table's first is one as well. The others are numbers, and aligned right."""


def overview(status: PoolStatus) -> Group:
    """Return what to print. Texts of hosts, guests and clients cannot command the terminal."""
    return Group(*_parts(all_shown(status)))


def _parts(status: PoolStatus) -> Iterator[RenderableType]:
    yield Text.assemble(
        (f"{status.used} of at most {status.max_vms} VMs", "bold"),
        f"  pool {status.name} of {status.master}",
    )
    if status.refused:
        yield Text("! What was saved last is refused; the configuration before goes on:", "yellow")
        yield Text(status.refused)
    yield _hosts(status.hosts)
    queues = {queue.label: queue for queue in status.waiting or ()}
    takers = {host.name for host in status.hosts if host.usable and not host.drained}
    yield _labels(status.labels, queues, takers)
    yield from _other_queues(status.labels, queues.values())
    if status.explained:
        yield _explained(status.explained)
    if status.leases:
        yield _leases(status.leases)
    if status.spares:
        yield _waiting_vms("SPARE OF", status.spares)
    if status.held:
        yield _held(status.held)
    if status.frozen:
        yield _frozen(status.frozen)
    if status.saving:
        yield _waiting_vms("TO BE SAVED", status.saving)
    if not (status.leases or status.spares or status.held or status.saving):
        yield Text("\nNo VM.")


def _hosts(hosts: Sequence[HostStatus]) -> Table:
    budgets = {"VCPUS": _vcpus, "MEMORY": _memory, "SAVED": _saved, "DENSITY": _density}
    budgets = {name: usage for name, usage in budgets.items() if any(map(usage, hosts))}
    table = _table("HOST", "VMS", "SLOTS", *budgets, "STATE")
    for host in hosts:
        usages = [usage(host) for usage in budgets.values()]
        table.add_row(Text(host.name), str(host.used), str(host.slots), *usages, _host_state(host))
    return table


def _vcpus(host: HostStatus) -> str:
    return f"{host.vcpus.used} of {host.vcpus.most}" if host.vcpus else ""


def _memory(host: HostStatus) -> str:
    if host.memory is None:
        return ""
    return f"{host.memory.used / GIB:.4g} of {host.memory.most / GIB:.4g} GiB"


def _saved(host: HostStatus) -> str:
    if host.saved_state_space is None or not host.saved_state_space.used:
        return ""
    used, most = host.saved_state_space.used / GIB, host.saved_state_space.most / GIB
    slots = len({state.slot for state in host.saved})
    return f"{slots}: {used:.2g} of {most:.4g} GiB{_too_many_states(host)}"


def _too_many_states(host: HostStatus) -> str:
    """Return how many states fit at the size of those that are there, if that is not all."""
    if host.saved_state_space is None or not host.saved:
        return ""
    size = sum(state.size for state in host.saved) / len(host.saved)
    fit = int(host.saved_state_space.most / max(1, size))
    return f" ({fit} of {host.resumable} states fit)" if fit < host.resumable else ""


def _density(host: HostStatus) -> str:
    """Return how many VMs run there, and what they have of its memory.

    What the kernel saves by KSM is the whole host's: of other programs and their VMs, too.
    """
    density = host.density
    if density is None or not density.vms:
        return ""
    shared = f" (KSM: {density.shared / GIB:.2g} GiB on the host)" if density.shared else ""
    return f"{density.vms}: {density.used / GIB:.2g} of {density.most / GIB:.4g} GiB{shared}"


def _host_state(host: HostStatus) -> Text:
    states = [] if host.usable else [Text(f"not usable: {host.trouble}", "red")]
    if host.drained:
        states.append(_drained(host.used))
    if host.blocked:
        slots = ", ".join(map(str, host.blocked))
        states.append(Text(f"slots held by others: {slots}", "yellow"))
    states += [Text(squatter, "yellow") for squatter in host.squatters]
    if not states and _is_full(host):
        states = [Text("full")]
    if host.starting:
        states.append(Text(f"{host.starting} starting"))
    if not states:
        states = [Text("ready", "green")]
    if host.shared:
        states.append(Text("shared with another owner"))
    return Text("; ").join(states)


def _is_full(host: HostStatus) -> bool:
    budgets = [usage for usage in (host.vcpus, host.memory) if usage is not None]
    return host.used >= host.slots or any(usage.used >= usage.most for usage in budgets)


def _labels(
    labels: Sequence[LabelStatus], queues: Mapping[str, QueueStatus], takers: Collection[str]
) -> Table:
    """Return the table of labels.

    :param takers: the hosts that take VMs, apart from the room that they have.
    """
    table = _table("LABEL", "VMS", "MAX", "WAITING", "FOR", "STATE")
    for label in labels:
        count, oldest = _queue(queues.get(label.name))
        state = _label_state(label, takers)
        table.add_row(Text(label.name), str(label.used), str(label.max_vms), count, oldest, state)
    return table


def _queue(queue: QueueStatus | None) -> tuple[str, str]:
    """Return how many requests wait, and for how long the oldest does."""
    if queue is None:
        return "?", ""
    return str(queue.requests), duration(queue.oldest) if queue.requests else ""


def _other_queues(labels: Sequence[LabelStatus], queues: Iterable[QueueStatus]) -> Iterator[Text]:
    """Say which requests wait for none of the labels alone."""
    known = {label.name for label in labels}
    for queue in queues:
        if queue.label not in known and queue.requests:
            what = queue.label or "(several, or by the properties of each job)"
            age = duration(queue.oldest)
            yield Text(f"Also waiting, for label {what}: {queue.requests}, the oldest for {age}.")


def _explained(explained: Iterable[WaitingStatus]) -> Table:
    """Return each reason once for each builder, those first that hold the oldest request."""
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for each in explained:
        groups[each.builder, each.reason].append(each.seconds)
    table = _table("WAITING OF", "REQUESTS", "FOR", "BECAUSE")
    for (builder, reason), ages in sorted(groups.items(), key=lambda item: -max(item[1])):
        table.add_row(Text(builder), str(len(ages)), duration(max(ages)), Text(reason))
    return table


def _label_state(label: LabelStatus, takers: Collection[str]) -> Text:
    if label.drained:
        return _drained(label.used)
    unfit = [Text(each, "yellow") for each in (*label.unfit, label.image) if each]
    if not any(host in takers for host in label.hosts):
        return Text("; ").join([Text("no host takes VMs", "red"), *unfit])
    if label.used >= label.max_vms:
        return Text("; ").join([Text("full"), *unfit])
    return Text("; ").join(unfit) if unfit else Text("ready", "green")


def _drained(used: int) -> Text:
    return Text(f"drained, {used} to go" if used else "drained", "yellow")


def _leases(leases: Sequence[LeaseStatus]) -> Table:
    # Without a channel, there is nothing to tell apart.
    connections = any(lease.connection == "channel" for lease in leases)
    by = ["BY"] if connections else []
    fetches = any(lease.requests is not None for lease in leases)
    by += ["FETCHED"] if fetches else []
    table = _table("WORKER", "HOST", "DOMAIN", *by, "PHASE", "FOR", "AGE", "BUILD")
    for lease in leases:
        table.add_row(
            Text(lease.worker),
            Text(lease.host),
            lease.domain,
            *([lease.connection] if connections else []),
            *([_fetched(lease)] if fetches else []),
            Text(lease.phase, "red" if lease.failure else ""),
            duration(lease.seconds_in_phase),
            duration(lease.seconds),
            _build(lease),
        )
    return table


def _fetched(lease: LeaseStatus) -> Text:
    if lease.requests is None:
        return Text("")
    got = lease.requests - lease.refused
    return Text(f"{got} of {lease.requests}", "yellow" if lease.refused else "")


def _build(lease: LeaseStatus) -> Text:
    build = Text(lease.failure, "red") if lease.failure else _job(lease.job)
    pause = Text(f"paused: {lease.pause}", "red") if lease.pause and not lease.failure else Text("")
    return Text("; ").join(part for part in (build, pause, _hold(lease)) if part)


def _hold(lease: LeaseStatus) -> Text:
    """Return for how long the VM is held after its build, and who has asked for that."""
    if lease.hold_for is None:
        return Text("")
    asker = f", asked for by {lease.hold_asked_by}" if lease.hold_asked_by else ""
    return Text(f"will be held for {duration(lease.hold_for)}{asker}", "yellow")


def _job(job: BuildRef | None) -> Text:
    """Return a build by the name that commands take."""
    return Text("") if job is None else Text(f"{job.builder}/{job.number}", f"link {job.url}")


def _waiting_vms(what: str, spares: Sequence[SpareStatus]) -> Table:
    table = _table(what, "HOST", "DOMAIN", "PHASE", "AGE")
    for spare in spares:
        age = duration(spare.seconds)
        table.add_row(Text(spare.label), Text(spare.host), spare.domain, spare.phase, age)
    return table


def _held(held: Sequence[HeldStatus]) -> Table:
    table = _table("HELD AFTER", "HOST", "DOMAIN", "LEFT", "BUILD")
    for vm in held:
        left = duration(vm.seconds_left)
        table.add_row(Text(vm.worker), Text(vm.host), vm.domain, left, _job(vm.job))
    return table


def _frozen(frozen: Sequence[FrozenStatus]) -> Table:
    table = _table("FROZEN AFTER", "HOST", "DOMAIN", "SIZE", "AGE", "LEFT", "BUILD", "ID", "STATE")
    for vm in frozen:
        size = f"{vm.size / GIB:.2g} GiB"
        why = vm.trouble or vm.given_up
        state = Text(why, "yellow") if why else Text(_frozen_state(vm))
        times = (duration(vm.seconds), duration(vm.seconds_left))
        row = (vm.domain, size, *times, _job(vm.job), vm.vm_id, state)
        table.add_row(Text(vm.worker), Text(vm.host), *row)
    return table


def _frozen_state(vm: FrozenStatus) -> str:
    if vm.is_waiting:
        return f"waits to be thawed: {vm.waits_for}"
    return f"goes to host {vm.target}" if vm.target else ""


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False, header_style="bold")
    for at, column in enumerate(columns):
        right = at > 0 and column not in _LEFT
        # On a narrow terminal, the widest columns wrap, so that none is left out.
        table.add_column(f"\n{column}", justify="right" if right else "left", overflow="fold")
    return table


def duration(seconds: float) -> str:
    """Return a duration as people say it: the two largest units."""
    whole = int(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    first = next(i for i, (_, size) in enumerate(units) if whole >= size)
    (large, size), (small, part) = units[first : first + 2]
    return f"{whole // size}{large} {whole % size // part:02}{small}"
