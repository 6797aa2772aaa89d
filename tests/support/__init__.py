"""What tests of several areas share: real stores, certificates, tokens and servers on this machine."""
