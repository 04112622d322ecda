/** A picture from the camera. */

import { make } from "./dom.js";
import { fromBlob } from "./pictures.js";
import { say } from "./strings.js";

/** Whether there is a camera that this page may ask for; browsers offer it to this machine and over https only. */
export async function hasCamera() {
  try {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.some((device) => device.kind === "videoinput");
  } catch {
    return false;
  }
}

/** @returns {Promise<import("./pictures.js").Picture | null>} null when no picture was taken; rejects without a camera */
export async function takePhoto() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: { ideal: "environment" } } });
  try {
    const blob = await shot(stream);
    return blob && (await fromBlob(blob, say("photo")));
  } finally {
    for (const track of stream.getTracks()) track.stop();
  }
}

/** @returns {Promise<Blob | null>} */
function shot(stream) {
  return new Promise((resolve) => {
    const video = make("video", { autoplay: true, playsinline: true, "aria-label": say("camera") });
    video.muted = true;
    video.srcObject = stream;
    const take = make("button", {
      type: "button",
      class: "plain strong",
      text: say("shoot"),
      onclick: () => still(video, (blob) => finish(blob)),
    });
    const leave = make("button", { type: "button", class: "plain", text: say("cancel"), onclick: () => finish(null) });
    const dialog = make(
      "dialog",
      { class: "camera", "aria-label": say("camera"), onclose: () => finish(null) },
      video,
      make("div", { class: "line" }, leave, take),
    );
    const finish = (blob) => {
      resolve(blob);
      dialog.remove();
    };
    document.body.append(dialog);
    dialog.showModal();
    take.focus();
  });
}

function still(video, done) {
  if (!video.videoWidth) return; // no picture has come yet
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(done, "image/jpeg", 0.92);
}
