//! Subscriptions, topic plans, delivery queues and retained values of one node
