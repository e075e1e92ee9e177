"""A file is saved as a whole, in one transaction, or not at all."""

from collections.abc import Callable

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, transaction

from subscriptions.catalogue_files.differences import NEW, Comparison, Difference, Plan
from subscriptions.catalogue_files.reading import Contents
from subscriptions.models import SKU, PriceBand, Product, User

_BATCH = 500


class Outdated(Exception):  # noqa: N818 - what was shown is no longer what would happen
    """The catalogue has changed since the differences were shown; `plan` is what would be changed now."""

    def __init__(self, plan: Plan) -> None:
        super().__init__("The catalogue has changed meanwhile.")
        self.plan = plan


def preview(contents: Contents) -> Plan:
    """What the contents would change; nothing is changed. Raises BadCatalogue.

    All is written and rolled back: so PostgreSQL itself has judged it.
    """
    return _write(contents, lambda plan: transaction.set_rollback(True))


def save(contents: Contents, *, actor: User | None, expected: str | None = None, note: str = "") -> Plan:
    """Change the catalogue as the contents say, and write what a person changed into the histories of BSS.

    `expected` is the fingerprint of the plan that was shown. Raises BadCatalogue or Outdated, and nothing is changed.
    """

    def finish(plan: Plan) -> None:
        if expected is not None and plan.fingerprint != expected:
            raise Outdated(plan)
        if actor is not None:
            _remember(plan, actor, note)

    return _write(contents, finish)


def _write(contents: Contents, finish: Callable[[Plan], None], *, again: bool = True) -> Plan:
    with transaction.atomic():
        comparison = Comparison(contents)
        plan = comparison.plan()
        try:
            with transaction.atomic():
                _write_rows(plan)
                finish(plan)
        except IntegrityError:
            comparison.explain()
            if not again:
                raise
        else:
            return plan
    # Somebody has added one of the same names at the same moment: now it is there to be compared.
    return _write(contents, finish, again=False)


def _write_rows(plan: Plan) -> None:
    for model in (Product, SKU, PriceBand):
        rows = model._default_manager
        rows.bulk_create(plan.new[model], batch_size=_BATCH)
        if changed := plan.changed[model]:
            fields = [field.name for field in model._meta.concrete_fields if not field.primary_key]
            rows.bulk_update(changed, ["price"] if model is PriceBand else fields, batch_size=_BATCH)
    PriceBand.objects.filter(pk__in=[band.pk for band in plan.removed]).delete()


def _remember(plan: Plan, actor: User, note: str) -> None:
    """Where the pages of products and SKUs keep who changed what; one entry for each of them."""
    by_row: dict[Product | SKU, list[Difference]] = {}
    for one in plan.differences:
        by_row.setdefault(one.row, []).append(one)
    kinds = ContentType.objects.get_for_models(Product, SKU)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=actor.pk,
            content_type=kinds[type(row)],
            object_id=str(row.pk),
            object_repr=str(row)[:200],
            action_flag=CHANGE,
            change_message="\n".join([f"By a file. {note}".strip(), *map(_in_words, found)]),
        )
        for row, found in by_row.items()
    )


def _in_words(one: Difference) -> str:
    values = "; ".join(
        f"{name} {after or 'removed'}" if not before else f"{name} {before} to {after or 'nothing'}"
        for name, before, after in one.values
    )
    return f"{one.about}, {'added' if one.kind == NEW else one.kind}: {values}"
