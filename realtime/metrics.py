"""What the sockets count (`/metrics`)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CONNECTED = Gauge("aurora_ws_connections", "Open sockets.", ["channel"], multiprocess_mode="livesum")
SENT = Counter("aurora_ws_frames_sent_total", "Frames handed to the server's transport.", ["channel"])
DROPPED = Counter("aurora_ws_dropped_total", "Sockets that the server gave up, by reason.", ["channel", "reason"])
REFUSED = Counter("aurora_ws_refused_total", "Sockets that were not let in, by close code.", ["channel", "code"])
SKIPPED = Counter("aurora_ws_events_skipped_total", "Stream entries that could not be made into a frame.", ["stream"])
OUTAGES = Counter("aurora_ws_reader_outages_total", "Times the reader lost Redis.")
