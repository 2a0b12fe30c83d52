// Making and keeping elements. Text goes in as text, always: names in it were chosen by strangers.

/** An element with a class, attributes and children; children that are no nodes become text. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** The same in SVG. */
export function svg(tag, attributes = {}) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Sets text only where it changed, so that selections and screen readers are left alone. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets an attribute only where it changed; `null` takes it away. */
export function set(node, name, value) {
  if (value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Children of one parent, one for each item and in the items' order; a child is found by its item's key and reused. */
export class Keyed {
  #children = new Map();

  constructor(parent, create, update = () => {}) {
    this.parent = parent;
    this.create = create;
    this.update = update;
  }

  show(items, keyOf) {
    const old = this.#children;
    const now = new Map();
    for (const item of items) {
      const key = keyOf(item);
      if (!now.has(key)) now.set(key, [item, old.get(key) ?? this.create(item)]);
    }
    for (const [key, child] of old) if (!now.has(key)) child.remove();
    this.#children = new Map();
    let next = this.parent.firstChild;
    for (const [key, [item, child]] of now) {
      this.update(child, item);
      if (child === next) next = next.nextSibling;
      else this.parent.insertBefore(child, next);
      this.#children.set(key, child);
    }
  }
}
