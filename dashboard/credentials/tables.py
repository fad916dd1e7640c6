"""Tables of the vault: credentials, and who used which for which run."""

from __future__ import annotations

from django_tables2 import Column

from dashboard.common.tables import Table


class CredentialTable(Table):
    """An organization's credentials. Each has `granted`, a summary of its grants, and `last_used_at`."""

    name = Column("Credential")
    kind = Column("Kind")
    granted = Column("Granted for")
    used = Column("Last used")

    caption = "Credentials by name"

    class Meta(Table.Meta):
        template_name = "credentials/_table.html"
        attrs = {"class": "table credentials stack"}


class AccessTable(Table):
    """Uses of credentials, newest first, as compliance.vault.access_log reads them."""

    result = Column("Result")
    at = Column("When")
    credential = Column("Credential")
    agent = Column("Agent")
    cause = Column("For")
    run = Column("Run")

    caption = "Uses of credentials, newest first"

    class Meta(Table.Meta):
        template_name = "credentials/_access_table.html"
        attrs = {"class": "table uses stack"}
