-- Alerts whose octets are still here, the oldest first: `store.keep` looks at no others.
CREATE INDEX alerts_kept ON alerts (received_utc_ns) WHERE length(body) > 0;
