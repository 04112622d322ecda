"""Sentences for documents where the user gives no text: patterns with blanks, in English and Chinese.

A blank such as {place} is filled from `WORDS` of the language, {number}, {year}, {price} and the like by the code that
asks. All of it is written for this package.
"""

from __future__ import annotations

from qwenvl.sample import Language

SENTENCES: dict[Language, tuple[str, ...]] = {
    "en": (
        "The {thing} in {place} was opened in {year} and has been {adjective} ever since.",
        "{name} wrote that a {adjective} {thing} is worth more than {number} {plural}.",
        "Visitors who arrive before {clock} will find the {thing} almost empty.",
        "In {month} {year} the council of {place} decided to repair the old {thing}.",
        "Most {plural} are made of {matter}, although {matter} is cheaper by {percent}.",
        "Please return all {plural} to the {thing} no later than {date}.",
        "She kept her {plural} in a {adjective} box under the stairs, together with a map of {place}.",
        "How many {plural} does it take to fill a {thing}? The answer depends on the {matter}.",
        "After {number} days of rain, the river near {place} rose above the {thing}.",
        "The report, published on {date}, compares {number} {plural} from {place} and {place}.",
        "“Nothing about {matter} is {adjective},” said {name}, “unless you look closely.”",
        "A good {trade} checks the {thing} twice; a great one asks why it broke.",
        "Turn left at the {thing}, walk for {number} minutes, and you will see the {adjective} tower of {place}.",
        "Its price rose from {price} to {price} within a single {season}.",
        "We measured the {matter} at {number} points along the road between {place} and {place}.",
        "During the {season}, trains to {place} leave every {number} minutes from platform {small}.",
        "The {trade} explained, in plain words, how {matter} turns into {matter}.",
        "No one in {place} could remember a {season} as {adjective} as that of {year}.",
        "Before you begin, read the notes on {matter} (see page {small}) and wash your hands.",
        "Although the {thing} looks {adjective}, it weighs only {number} kilograms.",
        "{name} and {name} met by chance in {place}; they have worked together since {year}.",
        "Each {thing} carries a number, a date and the mark of the {trade} who made it.",
        "About {percent} of the {plural} were sold in the first week of {month}.",
        "If the {thing} does not start, disconnect it and wait at least {number} seconds.",
        "Old {plural} tell us less about kings than about {matter}, bread and weather.",
        "The museum's {adjective} collection includes {plural}, {plural} and one {thing} from {place}.",
        "It was {clock} when the lights went out, and {name} reached for the {thing}.",
        "Every {season} the {trade} paints the {thing} in a {adjective} colour.",
        "Section {small}.{small} describes how {plural} are stored, moved and counted.",
        "Bring a coat: evenings in {place} are {adjective}, even in {month}.",
    ),
    "zh": (
        "{place}的{thing}建于{year}年，至今仍然{adjective}。",
        "{name}在信里写道：“{adjective}的{thing}，比{number}件{thing}更珍贵。”",
        "{clock}以前到达的游客，会发现{thing}里几乎没有人。",
        "{year}年{month}，{place}决定重新修缮旧{thing}，预计花费{price}。",
        "多数{thing}用{matter}制成，尽管{matter}要便宜{percent}。",
        "请在{date}之前把{thing}还到服务台，逾期每天收费{small}元。",
        "她把{thing}放在楼梯下面的箱子里，和一张{place}的旧地图放在一起。",
        "要多少{matter}才能装满一个{thing}？这取决于{season}的天气。",
        "连续下了{number}天的雨，{place}附近的河水漫过了{thing}。",
        "{date}发表的报告比较了{place}和{place}的{number}个{thing}。",
        "好的{trade}检查两遍，出色的{trade}会问它为什么坏了。",
        "在{thing}左转，步行{number}分钟，就能看见{place}那座{adjective}的塔。",
        "仅仅一个{season}，它的价格就从{price}涨到了{price}。",
        "我们沿着{place}到{place}的公路，在{number}个地点测量了{matter}的含量。",
        "{season}期间，开往{place}的列车每{number}分钟一班，请到{small}号站台候车。",
        "{trade}用浅显的话解释了{matter}怎样变成{matter}。",
        "{place}没有人记得，哪一年的{season}像{year}年那样{adjective}。",
        "开始之前，请先阅读第{small}页关于{matter}的说明，并把手洗干净。",
        "这件{thing}看起来{adjective}，其实只有{number}千克。",
        "{name}和{name}在{place}偶然相识，从{year}年起一直共事。",
        "每一个{thing}上都有编号、日期，还有{trade}的印记。",
        "大约{percent}的{thing}在{month}的第一个星期就卖完了。",
        "如果{thing}没有反应，请切断电源，至少等待{number}秒后再试。",
        "古老的{thing}告诉我们的，与其说是帝王，不如说是{matter}、粮食和天气。",
        "馆内藏品丰富，包括{thing}、{thing}以及来自{place}的{thing}等。",
        "灯灭的时候是{clock}，{name}伸手去拿{thing}……",
        "每到{season}，{trade}都会把{thing}重新漆成{adjective}的颜色。",
        "《{place}志》第{small}卷记载了{thing}的来历；可惜，原书已经失传。",
        "出门请带外套：{place}的夜晚很凉，{month}也不例外。",
        "读书不在多，而在精；做事不在快，而在稳。",
        "有人问：“这条路通向哪里？”{trade}笑了笑，说：“通向{place}。”",
        "根据《{thing}管理办法》（{year}年修订），{adjective}的场所不得存放{matter}！",
    ),
}

HEADINGS: dict[Language, tuple[str, ...]] = {
    "en": (
        *("The {adjective} {thing}", "Notes on {matter}", "A {season} in {place}", "{place}: {number} Years of {matter}"),
        *("Chapter {small}", "How to Choose a {thing}", "Annual Report {year}", "{plural} and {plural}", "Notice"),
        *("Opening Hours", "Rules of the {thing}", "Letters from {place}", "What {name} Saw", "{month} {year}", "Summary"),
        *("{small}. The {thing}", "Price List", "Frequently Asked Questions", "Welcome to {place}", "SALE {percent} OFF"),
    ),
    "zh": (
        *("{adjective}的{thing}", "关于{matter}的说明", "{place}的{season}", "{place}：{thing}与{matter}", "第{small}章 {thing}"),
        *("怎样选择{thing}", "{year}年度报告", "通知", "开放时间", "{thing}使用须知", "{place}来信", "{name}的见闻", "目录"),
        *("{year}年{month}", "小结", "价目表", "常见问题", "欢迎来到{place}", "全场{percent}优惠", "安全第一", "温馨提示"),
    ),
}

LABELS: dict[Language, tuple[str, ...]] = {
    "en": (
        *("Total", "Subtotal", "Date", "Name", "Order no.", "Table", "Tax", "Cash", "Change", "Address", "Phone"),
        *("Weight", "Size", "Quantity", "{thing}", "{plural}", "{matter}", "{adjective} {thing}", "Service", "Delivery"),
    ),
    "zh": (
        *("合计", "小计", "日期", "姓名", "订单号", "桌号", "税额", "现金", "找零", "地址", "电话", "重量", "尺寸", "数量"),
        *("{thing}", "{matter}", "{adjective}{thing}", "服务费", "运费", "收款人", "规格", "单价", "备注"),
    ),
}

VALUES: dict[Language, tuple[str, ...]] = {
    "en": ("{price}", "{price}", "{date}", "{number}", "{percent}", "{code}", "{phone}", "{clock}", "{name}", "{place}"),
    "zh": ("{price}", "{price}", "{date}", "{number}", "{percent}", "{code}", "{phone}", "{clock}", "{name}", "{place}"),
}

WORDS: dict[Language, dict[str, tuple[str, ...]]] = {
    "en": {
        "thing": tuple(
            "bridge library kitchen garden lamp engine clock harbour market window ladder kettle piano camera bicycle "
            "notebook lighthouse station workshop cupboard telescope violin blanket furnace compass theatre school "
            "printer hospital boat umbrella typewriter well orchard castle museum hotel wheel desk battery".split()
        ),
        "plural": tuple(
            "apples letters bottles shoes maps tools coins clocks books horses chairs stamps tickets bricks seeds "
            "photographs keys baskets gloves shells sparrows ships recipes lanterns buttons questions islands".split()
        ),
        "matter": tuple(
            "copper glass paper cotton rice salt iron wool sugar clay leather timber steam silver oil marble wheat "
            "rubber coffee electricity chalk silk granite honey light".split()
        ),
        "adjective": tuple(
            "quiet famous narrow bright heavy simple early modern golden broken careful wooden cheerful ancient rare "
            "useful crowded delicate ordinary northern remarkable green silent well-known hand-made".split()
        ),
        "trade": tuple(
            "baker carpenter teacher gardener engineer nurse farmer printer sailor tailor cook librarian driver "
            "watchmaker painter geologist".split()
        ),
        "place": (
            *"Lisbon Oslo Kyoto Bergen Cairo Lima Dublin Porto Hanoi Quito Leeds Riga Tunis Salem Perth Geneva".split(),
            *("New Haven", "Cape Town", "San Juan", "Port Louis", "Upper Norwood", "St. Ives", "Novi Sad", "El Paso"),
        ),
        "name": (
            *("Anna Brook", "J. Whitfield", "Omar Haddad", "Mei Lin", "Dr. Okafor", "Clara Nyman", "P. J. Moreau"),
            *("Ruth Adeyemi", "Tomás Vega", "Ingrid Dahl", "Samuel Price", "Yuki Mori", "Zoë Keller", "Karl Böhm"),
        ),
        "season": tuple("spring summer autumn winter holiday harvest".split()),
        "month": tuple(
            "January February March April May June July August September October November December".split()
        ),
    },
    "zh": {
        "thing": tuple(
            "石桥 图书馆 花园 油灯 发动机 钟楼 码头 市场 窗户 梯子 水壶 钢琴 相机 自行车 笔记本 灯塔 车站 工厂 柜子 "
            "望远镜 小提琴 毛毯 炉子 指南针 剧院 学校 打印机 医院 渔船 雨伞 古井 果园 城墙 博物馆 旅馆 电池 瓷器 屏风 "
            "茶杯 邮票 门票 钥匙 地图 篮子 手套 种子 照片 银币 菜谱 灯笼".split()
        ),
        "matter": tuple(
            "铜 玻璃 纸张 棉花 大米 食盐 钢铁 羊毛 白糖 黏土 皮革 木材 蒸汽 白银 石油 大理石 小麦 橡胶 咖啡 电力 粉笔 丝绸 "
            "花岗岩 蜂蜜 阳光 茶叶".split()
        ),
        "adjective": tuple(
            "安静 著名 狭窄 明亮 沉重 简单 古老 现代 金色 破旧 精致 快乐 稀有 实用 拥挤 普通 美丽 洁净 繁忙 坚固 温暖 "
            "独特".split()
        ),
        "trade": tuple("面包师 木匠 老师 园丁 工程师 护士 农民 水手 裁缝 厨师 图书管理员 司机 钟表匠 画家 地质学家".split()),
        "place": tuple(
            "北京 上海 广州 成都 西安 杭州 南京 昆明 青岛 厦门 桂林 苏州 敦煌 大理 洛阳 哈尔滨 拉萨 长沙 武汉 景德镇 平遥 "
            "江南 海南岛 长城脚下".split()
        ),
        "name": tuple("李明 王芳 张伟 刘洋 陈静 赵磊 周敏 吴强 孙丽 欧阳雪 林小雨 黄志远 马建国 郑文博 郭晓东".split()),
        "season": tuple("春天 夏天 秋天 冬天 假期 收获季节".split()),
        "month": tuple("一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月".split()),
    },
}
