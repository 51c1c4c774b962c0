"""Devices and their memory, replicas, and the processes of several hosts."""
