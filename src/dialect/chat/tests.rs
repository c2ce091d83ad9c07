//! What both directions must agree on.
