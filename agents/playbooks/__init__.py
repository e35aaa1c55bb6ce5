"""Playbooks: what they consist of, which actions they take and who has to approve them."""
