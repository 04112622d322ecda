/** Everything the page says, in English and Chinese, and which of the two is spoken. */

const TABLE = {
  title: ["Ask a picture", "向图片提问"],
  intro: [
    "Show a picture, ask about it, and see on the picture what the answer names. Drag over a picture to ask about that place.",
    "上传图片并提问，答案提到的物体会直接框在图上。在图上拖动，即可就该处提问。",
  ],
  dropTitle: ["Drop pictures here, or paste them", "把图片拖到这里，或直接粘贴"],
  choose: ["Choose pictures", "选择图片"],
  camera: ["Camera", "拍照"],
  examples: ["Or begin with one of these", "或从示例开始"],
  dropHere: ["Drop to add the pictures", "松开即可添加图片"],
  pictures: ["Pictures", "图片"],
  conversation: ["Conversation", "对话"],
  composer: ["Your question", "你的问题"],
  picture: ["Picture {n}", "图 {n}"],
  pictureAlt: ["Picture {n}: {name}, {width} × {height} pixels", "图 {n}：{name}，{width} × {height} 像素"],
  showPicture: ["Show picture {n}", "查看图 {n}"],
  reduced: [
    "Reduced from {width} × {height} to {w} × {h} before sending; boxes are in the reduced picture's pixels.",
    "发送前已从 {width} × {height} 缩小到 {w} × {h}，框的坐标以缩小后的图片为准。",
  ],
  mark: ["Mark a place", "标记位置"],
  markHint: ["Drag on the picture to ask about a place", "在图上拖动，可就该处提问"],
  markKeys: [
    "Marking a place: arrow keys move it, Shift with arrows changes its size, Enter takes it, Escape gives up",
    "正在标记：方向键移动，Shift 加方向键改变大小，回车确定，Esc 取消",
  ],
  place: ["Place in picture {n}", "图 {n} 中的位置"],
  removePlace: ["Remove the place in picture {n}", "移除图 {n} 中的位置"],
  removePicture: ["Remove picture {n}", "移除图 {n}"],
  ask: ["Ask about the picture…", "就图片提问……"],
  askPlace: ["Ask about the marked place, or just send", "就标记处提问，也可直接发送"],
  askAnything: ["Ask, or add a picture", "提问，或添加图片"],
  send: ["Send", "发送"],
  stop: ["Stop", "停止"],
  add: ["Add pictures", "添加图片"],
  editing: ["Editing an earlier question: what follows it will be replaced", "正在编辑之前的问题，其后的对话将被替换"],
  cancel: ["Cancel", "取消"],
  edit: ["Edit and send again", "编辑并重新发送"],
  again: ["Another answer", "换个回答"],
  raw: ["Raw markup", "原始标记"],
  copyAnswer: ["Copy the answer as JSON", "复制回答（JSON）"],
  copyAll: ["Copy the conversation as JSON", "复制整个对话（JSON）"],
  copied: ["Copied", "已复制"],
  copyByHand: ["The browser does not allow copying here. Select the text and copy it:", "浏览器不允许在此复制，请手动选择文本复制："],
  clear: ["New conversation", "新对话"],
  language: ["中文", "English"],
  you: ["You asked", "你的问题"],
  answer: ["Answer", "回答"],
  thinking: ["Looking…", "正在看图……"],
  nothing: ["The model said nothing.", "模型没有回答。"],
  stopped: ["Stopped", "已停止"],
  cut: ["Cut off: no room for more", "已截断：没有更多空间"],
  figures: ["{seconds} s · {tokens} tokens", "{seconds} 秒 · {tokens} 个词元"],
  places: ["{n} places on the picture", "图上 {n} 处"],
  onePlace: ["1 place on the picture", "图上 1 处"],
  unnamed: ["place {n}", "位置 {n}"],
  retry: ["Try again", "重试"],
  close: ["Close", "关闭"],
  ready: ["Ready", "就绪"],
  connecting: ["Connecting…", "正在连接……"],
  loading: ["The model is loading…", "模型加载中……"],
  goneShort: ["No server", "未连接"],
  gone: ["The server does not answer. Is it still running?", "服务器没有响应，它还在运行吗？"],
  broken: ["The connection broke before the answer was complete.", "连接中断，回答不完整。"],
  waiting: ["The model is still loading. The question is sent as soon as it is ready.", "模型仍在加载，就绪后会自动发送。"],
  busy: ["The server is busy. Trying again in {seconds} s.", "服务器繁忙，{seconds} 秒后重试。"],
  tooLarge: ["Too large for the server: {message}", "超出服务器限制：{message}"],
  refused: ["The server did not accept this: {message}", "服务器未接受：{message}"],
  failed: ["The server failed: {message}", "服务器出错：{message}"],
  needKey: ["This server asks for a key.", "此服务器需要密钥。"],
  key: ["Key", "密钥"],
  useKey: ["Use it", "使用"],
  notPicture: [
    "{name} is not a picture that this browser can read. JPEG, PNG, WebP, GIF, BMP and AVIF work.",
    "浏览器无法读取 {name}。支持 JPEG、PNG、WebP、GIF、BMP 和 AVIF。",
  ],
  noFiles: ["Only picture files can be dropped here; save the picture first.", "这里只能拖入图片文件，请先保存图片。"],
  noCamera: ["The camera can not be used: {message}", "无法使用摄像头：{message}"],
  shoot: ["Take the picture", "拍摄"],
  photo: ["photo", "照片"],
  pasted: ["pasted picture", "粘贴的图片"],
};

const KEPT = "qwenvl-language";

let index = initial();

function initial() {
  const kept = remembered();
  if (kept) return kept === "zh" ? 1 : 0;
  return /^zh\b/i.test(navigator.language ?? "") ? 1 : 0;
}

/** Storage is refused to pages in some private windows; the choice then lasts as long as the page. */
function remembered() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

/** @returns {"en" | "zh"} */
export function language() {
  return index ? "zh" : "en";
}

/** Speak the other language from now on. */
export function switchLanguage() {
  index = 1 - index;
  try {
    localStorage.setItem(KEPT, language());
  } catch {
    // see remembered()
  }
}

/**
 * One of the table's strings with its `{values}` put in.
 * @param {keyof typeof TABLE} key
 * @param {Record<string, string | number>} [values]
 */
export function say(key, values = {}) {
  return TABLE[key][index].replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** A string that is named in the page. */
const word = (key) => say(/** @type {keyof typeof TABLE} */ (key));

/** Put the strings into what stands in index.html: `data-say` is the text, `data-label` the accessible name. */
export function translate() {
  document.documentElement.lang = index ? "zh-CN" : "en";
  document.title = `qwenvl · ${say("title")}`;
  const marked = (name) => /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`[data-${name}]`));
  for (const found of marked("say")) found.textContent = word(found.dataset.say);
  for (const found of marked("label")) found.setAttribute("aria-label", word(found.dataset.label));
}
