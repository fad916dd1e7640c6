"""The table of notices."""

from __future__ import annotations

from django_tables2 import Column

from dashboard.common.tables import Table


class NoticeTable(Table):
    """Notices, the unread ones first, and each part with the newest first."""

    text = Column("Notice")
    at = Column("When")
    about = Column("About")
    read = Column("Read")

    caption = "Notices, the unread ones first"

    class Meta(Table.Meta):
        template_name = "alerts/_table.html"
        attrs = {"class": "table notices stack"}
