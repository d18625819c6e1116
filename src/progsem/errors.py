"""The one exception that is the user's to mend."""


class UserError(Exception):
    """Bad input: says in one line what was given, what was expected, what to do.

    Command-line entry points print its message on stderr, without a traceback,
    and exit with status 2.
    """
