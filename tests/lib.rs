//! What the black-box tests share: starting nodes, running the command line, waiting for events.
