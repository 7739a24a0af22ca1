"""Everything that Dagster's GraphQL can say about a home, asked field by field.

What belongs here: questions that reach every field of every type, and their answers. What does not: what is looked for
in them. `python tests/graphql_crawl.py <home> <answers.json>` asks in a process of its own, as a web server would.
"""

import asyncio
import json
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphql
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.schema import create_schema

REPOSITORY = {"repositoryLocationName": "ml_assets", "repositoryName": "__repository__"}
WORKSPACE = Path(__file__).parent.parent / "workspace.yaml"
# Arguments with which a root of the schema can be asked.
GIVEN: dict[str, str] = {
    "repositorySelector": "{" + ", ".join(f'{name}: "{value}"' for name, value in REPOSITORY.items()) + "}",
    "limit": "50",
    "view": "ROOTS",
}
# What narrows a root that would answer the same of each of some fifty assets.
ASSETS = '[{path: ["events", "weather"]}]'
NARROWED = {"assetNodes": {"assetKeys": ASSETS}, "assetsOrError": {"limit": "1"}}
NAMES_A_FIELD = "_of_"


def lenient_schema() -> graphql.GraphQLSchema:
    """Dagster's schema with all fields nullable: one that cannot be answered costs itself, not what stands above."""
    schema: graphql.GraphQLSchema = create_schema().graphql_schema
    for kind in schema.type_map.values():
        if graphql.is_object_type(kind) or graphql.is_interface_type(kind):
            for each in kind.fields.values():  # type: ignore[attr-defined]
                each.type = _nullable(each.type)
    return schema


def _nullable(kind: Any) -> Any:
    if graphql.is_non_null_type(kind):
        return _nullable(kind.of_type)
    return graphql.GraphQLList(_nullable(kind.of_type)) if graphql.is_list_type(kind) else kind


class Questions:
    """One question for every root that can be asked with what is known; each reaches every type below its root once."""

    def __init__(self, schema: graphql.GraphQLSchema) -> None:
        self.schema = schema

    def __iter__(self) -> Iterator[tuple[str, str]]:
        assert self.schema.query_type
        for name, root in self.schema.query_type.fields.items():
            needed = {each for each, given in root.args.items() if graphql.is_required_argument(given)}
            if needed <= set(GIVEN):
                asked = {each: GIVEN[each] for each in sorted(needed)} | NARROWED.get(name, {})
                given = ", ".join(f"{each}: {value}" for each, value in asked.items())
                kind = graphql.get_named_type(root.type)
                below = "" if graphql.is_leaf_type(kind) else self._selection(kind, self._tree(kind), frozenset())
                yield name, f"{{{name}{f'({given})' if given else ''} {below}}}"

    def _kinds(self, kind: Any) -> list[Any]:
        return list(self.schema.get_possible_types(kind)) if graphql.is_abstract_type(kind) else [kind]

    def _fields(self, kind: Any) -> Iterator[tuple[str, Any]]:
        for name, each in kind.fields.items():
            if not any(graphql.is_required_argument(given) for given in each.args.values()):
                yield name, graphql.get_named_type(each.type)

    def _tree(self, root: Any) -> set[tuple[str, str]]:
        """Type and field below which a type is met first, breadth first: the whole has circles, the tree has none."""
        waiting = deque(self._kinds(root))
        met = {kind.name for kind in waiting}
        tree = set()
        while waiting:
            kind = waiting.popleft()
            for name, named in self._fields(kind):
                new = [] if graphql.is_leaf_type(named) else [e for e in self._kinds(named) if e.name not in met]
                if new:
                    met |= {each.name for each in new}
                    waiting.extend(new)
                    tree.add((kind.name, name))
        return tree

    def _selection(self, kind: Any, tree: set[tuple[str, str]], above: frozenset[str]) -> str:
        parts = ["__typename"]
        for each in self._kinds(kind):
            fields = []
            for name, named in self._fields(each) if each.name not in above else ():
                # Two types of a union may give one name two kinds of value: each gets an alias of its own.
                alias = f"{name}{NAMES_A_FIELD}{each.name}"
                if graphql.is_leaf_type(named):
                    fields.append(f"{alias}: {name}")
                elif (each.name, name) in tree:
                    fields.append(f"{alias}: {name} {self._selection(named, tree, above | {each.name})}")
            if fields:
                parts.append(f"... on {each} {{{' '.join(fields)}}}")
        return "{" + " ".join(parts) + "}"


async def answers(context: WorkspaceRequestContext) -> dict[str, dict[str, Any]]:
    """By root what was answered, and the fields that could not be, with what they said."""
    schema = lenient_schema()
    held = {}
    for root, question in Questions(schema):
        said = await graphql.graphql(schema, question, context_value=context)
        errors = [[".".join(str(part) for part in each.path or ()), each.message] for each in said.errors or ()]
        held[root] = {"data": said.data, "errors": errors}
    return held


def main() -> None:
    """Asks everything of a home and writes what was answered."""
    home, written = map(Path, sys.argv[1:])
    with (
        DagsterInstance.from_config(str(home / "dagster")) as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(WORKSPACE)])) as process,
    ):
        held = asyncio.run(answers(process.create_request_context()))
    written.write_text(json.dumps(held, default=str))


if __name__ == "__main__":
    main()
