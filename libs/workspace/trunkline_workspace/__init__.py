"""The workspace: the whole configuration of an installation, as one document. No I/O.

`document` has the sections, `channels` the accounts, `values` the small value types, `fields` the
rules of a request's own fields. `checks` has the rules across sections. `reading` makes a checked
workspace of YAML or JSON, or reports every problem, and lists the changes between two versions.
A new key goes into its section in `document`; a rule that needs another section into `checks`.
"""
