"""The statements, one file each.

A file exports ``STATEMENT``, a ``diffsmooth.theory.verify.core.Statement``; putting it here is all
it takes to have it run by ``diffsmooth verify``.  Copy ``template.py``.  Modules that begin with an
underscore hold what several statements share.
"""
