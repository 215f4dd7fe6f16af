"""Files of jobs as bytes that come in and go out; no connection is held while the wire is waited for."""
