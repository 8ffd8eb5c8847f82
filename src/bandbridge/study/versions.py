"""Finished runs that a changed dataset has made useless, said before anything is trained in their place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from bandbridge.dataset.contents import Contents, read_contents
from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError
from bandbridge.study.ledger import Ledger, OtherRun
from bandbridge.study.resolve import TaskData
from bandbridge.study.run import PlannedRun, distinct

_SHOWN = 3


def other_versions(runs: Sequence[PlannedRun], ledger: Ledger, tasks: Mapping[str, TaskData]) -> str:
    """Return what to know before the unfinished of ``runs`` are trained; "" where there is nothing.

    That is how many finished runs are the same but for the version of their set, or of the one that their parent was
    trained on, and what has changed in it. Runs of another study, or on another set, whose task is called alike are
    none of these.
    """
    changed: dict[tuple[str, str], int] = defaultdict(int)
    for run in distinct(runs):
        if ledger.state(run).kind == "done":
            continue
        other = next((one for one in ledger.of_other_sets(run) if _is_earlier(one, run, ledger, tasks)), None)
        if other is not None:
            changed[run.task, str(other.record.get("dataset", ""))] += 1
    if not changed:
        return ""
    count = sum(changed.values())
    by_set = {(tasks[task].spec.named, old): tasks[task] for task, old in changed if old != tasks[task].fingerprint}
    what = [f"{name}: {_what_changed(old, data.contents, ledger)}" for (name, old), data in by_set.items()]
    return (
        f"{'1 finished run belongs' if count == 1 else f'{count:,} finished runs belong'} to another version of "
        f"{'this set' if len(by_set) < 2 else 'these sets'}"
        f"{'; ' + '; '.join(what) if what else ''}. {'It is' if count == 1 else 'They are'} kept and not used: "
        f"{counted(count, 'run')} would be trained in {'its' if count == 1 else 'their'} place. To use "
        f"{'it' if count == 1 else 'them'}, put the set back as it was"
    )


def _is_earlier(other: OtherRun, run: PlannedRun, ledger: Ledger, tasks: Mapping[str, TaskData]) -> bool:
    """Whether ``other`` is what ``run`` was before a set changed: made for its study, on an earlier version of the set.

    What earlier builds made does not say for whom: the images, by name or content, then tell whether it is the set.
    """
    if other.study and other.study != run.study:
        return False
    old = str(other.record.get("dataset", ""))
    if old == run.record.dataset:  # with other folds it is another study's; else the parent is what differs
        return other.record.get("split") == run.record.split and _has_earlier_parent(other, run, ledger, tasks)
    if other.data and other.data == run.data:
        return True
    before, now = _contents(old, ledger), tasks[run.task].contents
    if before is None or now is None:
        return not other.data
    shared = not set(before.files.values()).isdisjoint(now.files.values())
    return shared or (not other.data and not before.files.keys().isdisjoint(now.files))


def _has_earlier_parent(other: OtherRun, run: PlannedRun, ledger: Ledger, tasks: Mapping[str, TaskData]) -> bool:
    if run.parent is None:
        return False
    identity = str(other.record.get("init", {}).get("run"))
    found = (one for one in ledger.of_other_sets(run.parent) if one.id == identity)
    parent = next(found, None)
    return not ledger.holds(identity) if parent is None else _is_earlier(parent, run.parent, ledger, tasks)


def _contents(fingerprint: str, ledger: Ledger) -> Contents | None:
    try:
        return read_contents(ledger.root, fingerprint)
    except UserError:
        return None


def _what_changed(old: str, now: Contents | None, ledger: Ledger) -> str:
    before = _contents(old, ledger)
    if before is None or now is None:
        return "what has changed is not known"
    both = before.files.keys() & now.files.keys()
    if not both:
        known = set(before.files.values())
        same = sum(digest in known for digest in now.files.values())
        return f"it names its files otherwise: {same} of its {counted(len(now.files), 'image')} are images of before"
    kinds = {
        "changed": [name for name in both if before.files[name] != now.files[name]],
        "added": list(now.files.keys() - both),
        "missing": list(before.files.keys() - both),
    }
    said = [f"{counted(len(names), 'image')} {kind} ({_some(names)})" for kind, names in kinds.items() if names]
    return ", ".join(said) or "the images are the same, and labels, cells, patients or bits have changed"


def _some(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)
