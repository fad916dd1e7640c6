"""The table of notices."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.utils.safestring import SafeString

from compliance.models import Notice
from compliance.tenancy.events import Priority, Subject
from dashboard.common.formatting import instant
from dashboard.common.tables import Column
from dashboard.credentials.tables import PlainTable

_LEADS_TO = {Subject.RUNNER: "runners", Subject.MONITOR: "monitors"}
_PRIORITIES = {
    Priority.HIGH: ' <span class="v v-late">Important</span>',
    Priority.NORMAL: "",
    Priority.LOW: "",
}


class NoticeTable(PlainTable):
    """Notices, the unread ones first, and each part with the newest first."""

    columns = (Column("text", "Notice"), Column("at", "When"), Column("about", "About"), Column("read", "Read"))
    unlabelled = "text"
    css = "table notices stack"
    caption = "Notices, the unread ones first"

    def __init__(self, notices: Sequence[Notice], *, prefix: str, request: HttpRequest) -> None:
        super().__init__(notices, prefix=prefix)
        self.request = request

    def render_text(self, notice: Notice) -> SafeString:
        link = f'<a href="{self._link(notice)}">{escape(notice.text)}</a>{_PRIORITIES[Priority(notice.priority)]}'
        if notice.read_at is None:
            return SafeString(f'<span class="v v-new">New</span> <strong>{link}</strong>')
        return SafeString(link)

    def render_at(self, notice: Notice) -> SafeString:
        return instant(notice.at)

    def render_about(self, notice: Notice) -> SafeString:
        return SafeString(f'<a href="{self._link(notice)}">{escape(notice.get_subject_display())}</a>')

    def render_read(self, notice: Notice) -> SafeString:
        if notice.read_at is not None:
            return instant(notice.read_at)
        action = f"{self.base}notices/{notice.pk}/read/"
        return SafeString(
            f'<form method="post" action="{action}">'
            f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(self.request)}">'
            '<button class="btn btn-sm btn-outline-secondary text-nowrap" type="submit">Mark as read'
            f'<span class="visually-hidden">: {escape(notice.text)}</span></button></form>'
        )

    def _link(self, notice: Notice) -> str:
        return f"{self.base}{_LEADS_TO[Subject(notice.subject)]}/{notice.subject_id}/"
