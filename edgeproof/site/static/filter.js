// Filter a list by words: <input type="search" data-filters="id of the list">. The address holds the words.
"use strict";
for (const input of document.querySelectorAll("input[data-filters]")) {
  const items = [...document.getElementById(input.dataset.filters).children];
  const texts = items.map((item) => item.textContent.toLowerCase());
  const counts = document.querySelector(`[data-counts="${input.dataset.filters}"]`);
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    items.forEach((item, index) => {
      item.hidden = !words.every((word) => texts[index].includes(word));
      shown += item.hidden ? 0 : 1;
    });
    counts.textContent = words.length ? `${shown} of ${items.length}` : "";
  };
  input.value = readQuery().get(input.id) || "";
  if (input.value) filter();
  input.addEventListener("input", () => {
    filter();
    writeQuery(input.value ? [[input.id, input.value]] : []);
  });
}
