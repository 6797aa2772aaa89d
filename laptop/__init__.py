"""Runs the whole platform on one machine: the real servers, supervised, in one state folder."""
