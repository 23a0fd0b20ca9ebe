class UserError(ValueError):
    """Something the user can put right: one line that names the value, the rule and the remedy.

    The command line prints it without a traceback and exits with status 2.
    """
