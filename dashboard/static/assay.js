// Everything here adds to pages that work without it.
(() => {
  "use strict";

  // Times: relative while they are near, in the reader's zone otherwise; the exact instant in the title.
  const STEPS = [["day", 86400], ["hour", 3600], ["minute", 60]];
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const dated = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
  const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });

  function words(instant) {
    const seconds = (instant - Date.now()) / 1000;
    const distance = Math.abs(seconds);
    if (distance >= 7 * 86400) return dated.format(instant);
    if (distance < 45) return seconds > 5 ? "in a moment" : "a moment ago";
    for (const [unit, length] of STEPS) {
      if (distance >= length * 0.95) return relative.format(Math.round(seconds / length), unit);
    }
    return relative.format(Math.round(seconds / 60) || (seconds > 0 ? 1 : -1), "minute");
  }

  // How long something has lasted: "3 hours".
  function lasted(instant) {
    const seconds = (Date.now() - instant) / 1000;
    for (const [unit, length] of STEPS) {
      const count = Math.floor(seconds / length);
      if (count >= 1) return `${count} ${unit}${count === 1 ? "" : "s"}`;
    }
    return "less than a minute";
  }

  function textOf(element, instant) {
    if (element.dataset.lasting !== undefined) return lasted(instant);
    if (element.dataset.due !== undefined) {
      return instant > Date.now() ? element.dataset.due + words(instant) : `due for ${lasted(instant)}`;
    }
    return element.dataset.exact === undefined ? words(instant) : exact.format(instant);
  }

  function showTimes(root) {
    for (const element of root.querySelectorAll("time[datetime]")) {
      const instant = new Date(element.dateTime);
      if (Number.isNaN(instant.valueOf())) continue;
      const text = textOf(element, instant);
      if (element.textContent !== text) element.textContent = text;
      if (!element.title) element.title = `${exact.format(instant)} (${element.dateTime})`;
    }
  }

  // What changed on the page, said to those who do not see it change.
  function announce(text) {
    const live = document.getElementById("live");
    if (live && text && live.textContent !== text) live.textContent = text;
  }

  function problem(text) {
    const box = document.getElementById("problem");
    if (!box) return;
    box.hidden = !text;
    box.textContent = text;
  }

  // A dangerous form asks first. Without this script the server answers its POST with a page that asks.
  let asked = null;
  function ask(form, submitter) {
    const dialog = document.getElementById("confirm");
    asked = { form, submitter };
    dialog.querySelector("[data-text]").textContent = form.dataset.confirm;
    dialog.querySelector("[data-yes]").textContent = form.dataset.confirmButton || "Continue";
    dialog.showModal();
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.confirm && !form.elements.confirmed) {
      event.preventDefault();
      event.stopPropagation();
      ask(form, event.submitter);
      return;
    }
    // Empty fields make addresses long and say nothing.
    if (form.dataset.lean !== undefined) {
      const empty = [...form.elements].filter((field) => field.name && !field.value && !field.disabled);
      for (const field of empty) field.disabled = true;
      setTimeout(() => { for (const field of empty) field.disabled = false; });
    }
  }, true);

  document.addEventListener("click", (event) => {
    if (event.target.closest("#confirm [data-yes]") && asked) {
      const { form, submitter } = asked;
      const field = document.createElement("input");
      Object.assign(field, { type: "hidden", name: "confirmed", value: "1" });
      form.append(field);
      document.getElementById("confirm").close();
      form.requestSubmit(submitter);
      return;
    }
    if (event.target.closest("#confirm [data-no]")) {
      document.getElementById("confirm").close();
      return;
    }
    const copy = event.target.closest("[data-copy]");
    if (copy && navigator.clipboard) {
      navigator.clipboard.writeText(copy.dataset.copy).then(() => {
        const before = copy.textContent;
        copy.textContent = "Copied";
        announce("Copied to the clipboard");
        setTimeout(() => { copy.textContent = before; }, 1500);
      });
    }
  });

  // Copying needs this script; without it there is no button.
  function showCopies(root) {
    for (const element of root.querySelectorAll("[data-copy]")) element.hidden = false;
  }

  // Which timezone the reader lives in only the browser knows: it comes first. A form that is new begins with it.
  function offerZone() {
    const own = new Intl.DateTimeFormat().resolvedOptions().timeZone;
    for (const select of document.querySelectorAll("select[data-zones]")) {
      const option = [...select.options].find((each) => each.value === own);
      if (!option || option.parentElement === select || select.querySelector("[data-own]")) continue;
      const group = document.createElement("optgroup");
      group.label = "Yours";
      group.dataset.own = "";
      group.append(new Option(own, own));
      select.prepend(group);
      if (select.dataset.zones !== "new" && !option.selected) continue;
      select.value = own;
      if (select.form.querySelector("[name=how][value=cron]:checked")) {
        select.dispatchEvent(new Event("change", { bubbles: true })); // the times on the page are another zone's
      }
    }
  }

  // The place that failed may lie far down in an exchange.
  function showMarks(root) {
    for (const box of root.querySelectorAll("pre:has(mark)")) {
      const mark = box.querySelector("mark");
      box.scrollTop += mark.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 4;
    }
  }

  // A link to a step opens the boxes that it lies in.
  function openTarget() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let box = target; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
    target.scrollIntoView();
  }

  document.addEventListener("htmx:afterSettle", (event) => {
    showTimes(document);
    showCopies(document);
    offerZone();
    showMarks(event.detail.elt);
    problem("");
    const box = event.detail.elt;
    const said = box.matches("[data-announce]") ? box : box.querySelector("[data-announce]");
    if (said) announce(said.dataset.announce || said.textContent.trim());
    if (box.dataset.focus !== undefined) box.focus();
  });
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, () => problem("This part could not be refreshed. Reload the page to try again."));
  }

  document.addEventListener("DOMContentLoaded", () => {
    showCopies(document);
    showTimes(document);
    showMarks(document);
    offerZone();
    openTarget();
    setInterval(() => showTimes(document), 20000);
  });
  window.addEventListener("hashchange", openTarget);
})();
