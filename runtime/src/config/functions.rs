//! A tool's capabilities as functions that a model can call. Never calls one.

use postern_contract::{
    ToolName,
    config::{Capability, Tool},
};
use postern_invoke::ToolFunction;
use serde_json::{Map, Value, json};

/// The longest function name that every provider takes, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The functions of a tool; one without capabilities has none, since a model could not know what to call.
pub(crate) fn of_tool(name: &ToolName, tool: &Tool) -> Vec<ToolFunction> {
    tool.capabilities
        .iter()
        .map(|capability| function(name, tool, capability))
        .collect()
}

fn function(tool_name: &ToolName, tool: &Tool, capability: &Capability) -> ToolFunction {
    let described = if capability.description.is_empty() {
        &tool.description
    } else {
        &capability.description
    };
    ToolFunction {
        name: spelled(tool_name.as_str(), &capability.name),
        description: described.clone(),
        parameters: Some(
            capability
                .parameters
                .clone()
                .unwrap_or_else(|| parameters_of(&capability.path)),
        ),
        tool: tool_name.clone(),
        method: capability.method.clone(),
        path: capability.path.clone(),
    }
}

/// Providers take letters, digits, `_` and `-` in a function's name.
fn spelled(tool: &str, capability: &str) -> String {
    let whole = format!("{tool}__{capability}");
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    whole.chars().map(plain).take(NAME_BYTES_MAX).collect()
}

/// Without a schema any object is taken, and what the path needs is asked for.
fn parameters_of(path: &str) -> Value {
    let segments = path.split('/');
    let needed: Vec<_> = segments
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .collect();
    let properties: Map<_, _> = needed
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "type": "string" })))
        .collect();
    json!({ "type": "object", "properties": properties, "required": needed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_becomes_a_function_that_asks_for_what_its_path_needs() {
        let tool: Tool = serde_json::from_value(json!({
            "url": "https://calc.example",
            "description": "Sums",
            "capabilities": [{ "name": "get.item", "method": "GET", "path": "/items/{id}" }],
        }))
        .unwrap();
        let functions = of_tool(&"calc".parse().unwrap(), &tool);
        assert_eq!(functions[0].name, "calc__get_item");
        assert_eq!(functions[0].description, "Sums");
        assert_eq!(
            functions[0].parameters.as_ref().unwrap()["required"],
            json!(["id"])
        );
    }
}
