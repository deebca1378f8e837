"""The longest files go first, and the others stay where they are."""

from types import SimpleNamespace

from order import HERE, PLACE, pytest_collection_modifyitems


def test_the_files_that_go_first_are_there():
    assert [str(path) for path in PLACE if not path.is_file()] == []


def test_they_are_collected_first():
    first = list(PLACE)[1::-1]
    items = [SimpleNamespace(path=path, name=str(i)) for i, path in enumerate([HERE / "a.py", *first, HERE / "a.py"])]
    pytest_collection_modifyitems(items)
    assert [item.name for item in items] == ["2", "1", "0", "3"]
