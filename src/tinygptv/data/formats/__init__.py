"""The forms of data sets, one module each (docs/data.md): from files to a lazy stream of records.

A module has ``read(source)``, which gives what ``data/source.py`` calls ``Found`` or ``Rejection``. One whose data come
in an installed package has ``folder()`` as well; ``BESIDE`` names files that describe those beside them; and
``recognise(look)`` knows the form's files when it sees them. ``config/formats.py`` is the table.
"""
