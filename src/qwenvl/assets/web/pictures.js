/** Files become pictures of the conversation: decoded once to know that they are pictures, and sent as they are. */

/**
 * @typedef {object} Picture
 * @property {string} name
 * @property {string} url what the page shows: a blob of the very bytes that are sent
 * @property {string} data what is sent: a data: URI
 * @property {number} width upright, in pixels, as the server counts them
 * @property {number} height
 * @property {[number, number] | null} before its size before it was reduced
 */

/** What the server reads as well; anything else that the browser can show is sent as PNG. */
const SENT_AS_IT_IS = /^image\/(jpeg|png|webp|gif|bmp|avif)$/;

/**
 * Beyond this a picture is reduced, and says so: the model sees a few hundred pixels a side, and every question sends
 * the pictures of the conversation again.
 */
const MAX_BYTES = 4 << 20;
const MAX_PIXELS = 24_000_000;
const REDUCED_SIDE = 2048;

/** Not a picture, or none that can be read. */
export class BadPicture extends Error {}

/**
 * @param {File} file
 * @returns {Promise<Picture>}
 */
export async function readPicture(file) {
  const { image, url } = await decoded(file, file.name);
  // An <img> is turned upright by its EXIF orientation, as on the server, so both count the same pixels.
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const large = file.size > MAX_BYTES || width * height > MAX_PIXELS;
  if (!large && SENT_AS_IT_IS.test(file.type)) {
    return { name: file.name, url, data: await dataUri(file), width, height, before: null };
  }
  const scale = large ? Math.min(1, REDUCED_SIDE / Math.max(width, height)) : 1;
  const redrawn = await redraw(image, Math.max(1, width * scale), Math.max(1, height * scale), large);
  URL.revokeObjectURL(url);
  return { ...(await fromBlob(redrawn, file.name)), before: scale < 1 ? [width, height] : null };
}

/** @param {Blob} blob of a kind that the server reads @param {string} name @returns {Promise<Picture>} */
export async function fromBlob(blob, name) {
  const { image, url } = await decoded(blob, name);
  return { name, url, data: await dataUri(blob), width: image.naturalWidth, height: image.naturalHeight, before: null };
}

async function decoded(blob, name) {
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
    if (!image.naturalWidth || !image.naturalHeight) throw new BadPicture(name);
  } catch {
    URL.revokeObjectURL(url);
    throw new BadPicture(name);
  }
  return { image, url };
}

/** @returns {Promise<Blob>} */
function redraw(image, width, height, large) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width);
  canvas.height = Math.round(height);
  const context = canvas.getContext("2d");
  // The server lays transparency on white too.
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    const take = (blob) => (blob ? resolve(blob) : reject(new BadPicture()));
    canvas.toBlob(take, large ? "image/jpeg" : "image/png", 0.92);
  });
}

/** @param {Blob} blob @returns {Promise<string>} */
function dataUri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(new BadPicture());
    reader.readAsDataURL(blob);
  });
}
