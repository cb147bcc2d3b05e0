"""A sealed package in the form that another server loads without edits; each form is one file in exporters/."""
