"""The templates of pages: every text that comes from outside is escaped, and a name that is not given is a fault."""

from __future__ import annotations

import jinja2


def page_templates(package: str) -> jinja2.Environment:
    """Return the HTML templates in the folder ``templates`` of ``package``, such as "bandbridge.report"."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
