"""The languages that programs are written in, a package each."""
