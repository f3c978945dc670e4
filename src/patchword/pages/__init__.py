"""One look for every page: a report, later what doctor, inspect and compare have to show.

A page is one HTML file that needs nothing else: no network, no fonts, no other file. It knows what
it is given to show and nothing that computed it. `page` renders and writes, `figures`, `confusion`
and `pictures` draw, and one module per page (`report`) says what that page holds.
"""
