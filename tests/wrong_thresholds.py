"""Thresholds of endpointing that cannot work, for Python and for the page alike."""

NO_NUMBERS = [
    {"hangover_ms": "100"},
    {"gate_db": "high"},
    {"early_probability": None},
    {"gate_share": True},
    {"frame_ms": [10]},
    {"max_speech_ms": 1e300},
    {"floor_window_ms": 10**400},
]
WRONG_THRESHOLDS = [
    *NO_NUMBERS,
    {"patience_ms": 3},
    {"constructor": 3},
    {"detector": "ears"},
    {"detector": None},
    {"frame_ms": 15},
    {"aggressiveness": 4},
    {"aggressiveness": 1.5},
    {"silero_probability": 1},
    {"onset_ms": 0},
    {"max_speech_ms": 20},
    {"early_ms": 120},
    {"early_ms": 5},
    {"tail_ms": 0},
    {"stable_ms": 0},
    {"stable_silence_ms": 5},
    {"lasting_ms": 9},
    {"rest_ms": 0},
    {"running_pause_ms": 0},
    {"running_speech_ms": -600},
    {"partial_ms": 1},
    {"pre_roll_ms": -100},
    {"min_speech_ms": -5},
    {"floor_window_ms": 50},
]
NO_MAPPINGS = [None, [], "webrtc", 3]
