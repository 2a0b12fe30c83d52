//! Client sessions: admission, limits, credit, drain
