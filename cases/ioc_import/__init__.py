"""IOCs by the thousand: lists of other people's, as CSV, STIX 2.1 bundles or MISP events.

A format's module reads a payload into entries, pure; `import_iocs` is the verb that stores them. What is known already is merged, what is
no indicator is ignored, what cannot be read is rejected with a reason that the list's owner can act on.
"""

from __future__ import annotations

from cases.ioc_import.entries import Entry
from cases.ioc_import.formats import read
from cases.ioc_import.storing import Imported, import_iocs

__all__ = ["Entry", "Imported", "import_iocs", "read"]
