from processor.definition import TASKS
from src.settings.command_line import find_tasks


def in_suite(name, tasks=TASKS):
    return [task for task in tasks if tasks[task].suite == name]


def test_chooses_tasks_by_name_file_and_suite():
    own = TASKS["nsmc"].model_copy(update={"suite": "mine"})
    tasks = {**TASKS, "first": own, "second": own}

    def chosen(text):
        problems = []
        return find_tasks(text.split(","), tasks, "--tasks", problems), problems

    published = dict(zip(in_suite("koelectra"), in_suite("koelectra"), strict=True))
    assert chosen("all") == chosen("koelectra") == chosen("nsmc,all,koelectra") == (published, [])
    assert len(published) == 8
    assert chosen("mine") == ({"first": "first", "second": "second"}, [])
    assert chosen("a/first.json,nsmc") == ({"first": "a/first.json", "nsmc": "nsmc"}, [])
    assert "two tasks have the name 'first': first, a/first.json" in chosen("first,a/first.json")[1][0]
    assert "unknown task 'mines'" in chosen("mines")[1][0] and "Did you mean 'mine'?" in chosen("mines")[1][0]
