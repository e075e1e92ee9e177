"""The vendor's stand-in: a process of its own that speaks the vendor's wire format and keeps its own records.

It shares no code with the gateway, so that one mistake cannot hide in both. Start it with `process.start`, steer and
question it with `control.Control`. What the vendor has not published is decided in `rules`, and said there.
"""
