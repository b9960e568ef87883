"""Print what .binder/postBuild has made at the end of the build."""

import os

assert os.path.exists("/opt/fetched/requirements.txt")
with open("made.txt", encoding="utf-8") as file:
    print(file.read())
