"""Groups of commands of ``tinygptv`` that ``cli.py`` puts together."""
